"""Tables of torch with sparse gradients: ``Embedding(sparse=True)`` under Adagrad or SparseAdam."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Embedding, Parameter
from torch.optim import Adagrad, Optimizer, SparseAdam

from tests.benchmarks.peers.learner import Work, count_untouched

OPTIMIZERS: dict[str, tuple[type[Optimizer], float, str]] = {
    "Adagrad": (Adagrad, 0.1, "sum"),
    "SparseAdam": (SparseAdam, 0.01, "exp_avg_sq"),
}
"""By name: the class, its rate, and the part of its state that a row's first gradient makes positive."""
INITIAL_SCALE = 0.1


def logistic_gradients(user: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the logistic loss by the factors of users, items and negatives, float32[n, factors] each.

    By hand, which saves the peer what autograd would take: a quarter at batches of 64.
    """
    with torch.no_grad():
        up = torch.sigmoid((user * positive).sum(1, keepdim=True)) - 1
        down = torch.sigmoid((user * negative).sum(1, keepdim=True))
        return up * positive + down * negative, up * user, down * user


class TorchTables:
    """A table for users and one for items (:class:`~tests.benchmarks.peers.learner.Learner`)."""

    def __init__(self, num_factors: int, num_users: int, num_items: int, optimizer: str = "Adagrad") -> None:
        torch.set_num_threads(1)
        # As they are unless asked for; torch warns where nobody has said so.
        torch.sparse.check_sparse_tensor_invariants.disable()
        torch.manual_seed(1)
        kind, rate, self._touched = OPTIMIZERS[optimizer]
        self._users = _table(num_users, num_factors)
        self._items = _table(num_items, num_factors)
        self._optimizer: Any = kind([self._users.weight, self._items.weight], lr=rate)

    def prepare(self, work: Work) -> tuple[Tensor, Tensor]:
        """Return the users, int64[n], and the items with the negatives behind them, int64[2 n]."""
        return torch.from_numpy(work.user.copy()), torch.from_numpy(np.concatenate([work.item, work.negative]))

    def learn(self, prepared: tuple[Tensor, Tensor]) -> None:
        """Take a step on the sum of the batch's losses."""
        user, items = self._users(prepared[0]), self._items(prepared[1])
        by_user, by_item, by_negative = logistic_gradients(user, *items.chunk(2))
        self._optimizer.zero_grad()
        torch.autograd.backward([user, items], [by_user, torch.cat([by_item, by_negative])])
        self._optimizer.step()

    def make_room(self, num_users: int, num_items: int) -> None:
        """Double the tables, with their optimizer's state, until so many users and items fit in."""
        for table, wanted in ((self._users, num_users), (self._items, num_items)):
            while table.num_embeddings < wanted:
                self._double(table)

    def _double(self, table: Embedding) -> None:
        before, more = table.weight, _table(table.num_embeddings, table.embedding_dim)
        table.weight = Parameter(torch.cat([before.detach(), more.weight.detach()]))
        table.num_embeddings *= 2
        # SparseAdam has no state before its first step.
        if state := self._optimizer.state.pop(before, None):
            grown = {name: _padded(value, len(table.weight)) for name, value in state.items()}
            self._optimizer.state[table.weight] = grown
        params = self._optimizer.param_groups[0]["params"]
        params[next(place for place, param in enumerate(params) if param is before)] = table.weight

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the products of the factors."""
        with torch.no_grad():
            products = self._users(torch.from_numpy(user)) * self._items(torch.from_numpy(item))
        return products.sum(1).numpy().astype(np.float64)

    def num_missed(self, work: Work) -> int:
        """Count events whose rows have no squared gradient in the optimizer's state."""
        touched = [self._optimizer.state[table.weight][self._touched] for table in (self._users, self._items)]
        return count_untouched(work, *((state.abs().sum(1) > 0).numpy() for state in touched))

    @property
    def num_bytes(self) -> int:
        """The tables, and the tensors of the optimizer's state."""
        tensors = [table.weight for table in (self._users, self._items)]
        tensors += [value for state in self._optimizer.state.values() for value in state.values()]
        return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, Tensor))


def _table(num_rows: int, num_factors: int) -> Embedding:
    table = Embedding(num_rows, num_factors, sparse=True)
    torch.nn.init.uniform_(table.weight, -INITIAL_SCALE, INITIAL_SCALE)
    return table


def _padded(state: Any, num_rows: int) -> Any:
    """Give new rows a state of zeros; the count of steps has no rows."""
    if not isinstance(state, Tensor) or not state.dim():
        return state
    return torch.cat([state, torch.zeros(num_rows - len(state), *state.shape[1:])])

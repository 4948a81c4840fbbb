"""FBGEMM's table-batched embeddings on the processor, with row-wise Adagrad fused into the backward pass."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.benchmarks.peers.learner import Work, count_untouched
from tests.benchmarks.peers.torch_tables import INITIAL_SCALE, logistic_gradients

with warnings.catch_warnings():
    # It tells of its own parts that are left out of the build for processors.
    warnings.simplefilter("ignore")
    import fbgemm_gpu  # noqa: F401  (it registers the operators)
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

RATE = 0.1
USERS, ITEMS = 0, 1


class FbgemmTables:
    """Users and items as two tables read by three features (:class:`~tests.benchmarks.peers.learner.Learner`)."""

    def __init__(self, num_factors: int, num_users: int, num_items: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(1)
        place = (EmbeddingLocation.HOST, ComputeDevice.CPU)
        self._num_factors = num_factors
        self._tables = SplitTableBatchedEmbeddingBagsCodegen(
            [(num_users, num_factors, *place), (num_items, num_factors, *place)],
            feature_table_map=[USERS, ITEMS, ITEMS],
            optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            learning_rate=RATE,
            eps=1e-6,
        )
        self._tables.init_embedding_weights_uniform(-INITIAL_SCALE, INITIAL_SCALE)

    def prepare(self, work: Work) -> tuple[Tensor, Tensor]:
        """Return indices, int64[3 n], users before items before negatives, and the bags' offsets, one index each."""
        indices = torch.from_numpy(np.concatenate(work))
        return indices, torch.arange(len(indices) + 1)

    def learn(self, prepared: tuple[Tensor, Tensor]) -> None:
        """Take a step on the sum of the batch's losses."""
        rows = self._tables(*prepared)
        gradients = logistic_gradients(*rows.detach().split(self._num_factors, dim=1))
        rows.backward(torch.cat(gradients, 1))

    def scores(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the products of the factors."""
        users, items = (weights.detach().numpy() for weights in self._tables.split_embedding_weights())
        return (users[user] * items[item]).sum(1).astype(np.float64)

    def num_missed(self, work: Work) -> int:
        """Count events whose rows have no squared gradient in the optimizer's state."""
        touched = [state[0].numpy() > 0 for state in self._tables.split_optimizer_states()]
        return count_untouched(work, *touched)

    @property
    def num_bytes(self) -> int:
        """The tables, and an accumulator a row."""
        states = [state[0] for state in self._tables.split_optimizer_states()]
        return sum(tensor.nbytes for tensor in [*self._tables.split_embedding_weights(), *states])

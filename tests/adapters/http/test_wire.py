"""Messages arrive whole and in order, descriptors with theirs, and a sender never waits."""

import os
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest

from stream.adapters.http.wire import Lent, Logged, Message, Returned, Setup, Wire
from stream.config import make_settings
from stream.service_settings import Http


@pytest.fixture
def ends() -> Iterator[tuple[Wire, Wire]]:
    ours, theirs = map(Wire, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def take(wire: Wire, num: int) -> list[tuple[Message, int | None]]:
    taken: list[tuple[Message, int | None]] = []
    while len(taken) < num and not wire.is_closed:
        wire.wait(20)
        taken += wire.receive()
    return taken


def test_messages_of_all_lengths_arrive_in_order(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    messages = [Logged(20, "x" * length) for length in (0, 1, 70_000, 3, 2_000_000, 5)]

    def send() -> None:
        for message in messages:
            ours.send(message)
        while not ours.flush():
            ours.wait(1)

    thread = threading.Thread(target=send)
    thread.start()
    taken = take(theirs, len(messages))
    thread.join()
    assert [message for message, _ in taken] == messages


def test_each_descriptor_comes_with_its_message(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    files = [os.memfd_create(f"{number}") for number in range(5)]
    for number, file in enumerate(files):
        os.write(file, str(number).encode())
        ours.send(Logged(10, "between"))
        ours.send(Lent(number, (), 0.0, None), file)
        os.close(file)
    taken = take(theirs, 10)
    found = {message.number: descriptor for message, descriptor in taken if isinstance(message, Lent)}
    assert list(found) == [0, 1, 2, 3, 4]
    for number, descriptor in found.items():
        assert descriptor is not None
        assert os.pread(descriptor, 9, 0) == str(number).encode()
        os.close(descriptor)
    assert all(descriptor is None for message, descriptor in taken if not isinstance(message, Lent))


def test_a_sender_does_not_wait_for_one_who_does_not_read(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    num_sent = 1
    while ours.send(Logged(20, "x" * 10_000)):
        num_sent += 1
    assert not ours.flush()
    taken = take(theirs, num_sent - 1)
    assert ours.flush()
    assert len(taken + take(theirs, 1)) == num_sent


def test_what_is_not_taken_stays(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    for number in range(3):
        ours.send(Returned(number))
    assert next(theirs.receive())[0] == Returned(0)
    assert [message for message, _ in theirs.receive()] == [Returned(1), Returned(2)]


def test_what_the_other_said_before_its_end_is_received() -> None:
    ours, theirs = map(Wire, socket.socketpair())
    ours.send(Logged(20, "never read"))
    theirs.send(Returned(1))
    theirs.close()
    assert not ours.send(Returned(2))
    assert not ours.is_closed
    assert [message for message, _ in ours.receive()] == [Returned(1)]
    assert ours.is_closed
    ours.close()


def test_settings_come_through_as_they_were(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    made = make_settings({"memory.budget_bytes": 12345678, "exclude_seen": True, "policy": "pareto:2"})
    setup = Setup(made, Http(port=0, token="told to nobody"), "/some/folder")
    ours.send(setup)
    [(message, _)] = take(theirs, 1)
    assert message == setup
    assert msgspec.structs.asdict(setup)["http"].token == "told to nobody"

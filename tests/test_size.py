"""What `scall size` promises: the budget it names holds so many users and items with so many words each."""

import tomllib
from typing import Any

import pytest

from stream.__main__ import main
from stream.assembly import build_trainer
from stream.commands.size import Crowd
from stream.config import Settings, make_settings
from stream.core.event import ITEM, USER
from tests.core.twins import events_of

Told = pytest.CaptureFixture[str]


def told_by(capsys: Told, *arguments: str) -> str:
    assert main(["size", *arguments]) == 0
    return capsys.readouterr().out


def settings_in(told: str) -> Settings:
    """Return the settings that were told, as someone gets them who pastes all of it into a file."""
    nested: dict[str, Any] = tomllib.loads(told)
    names = {
        f"{section}.{name}": value
        for section, part in nested.items()
        if isinstance(part, dict)
        for name, value in part.items()
    }
    top = {name: value for name, value in nested.items() if not isinstance(value, dict)}
    number, unit = names["memory.budget_bytes"][:-3], names["memory.budget_bytes"][-3:]
    return make_settings(top | names | {"memory.budget_bytes": int(number) * {"KiB": 2**10, "MiB": 2**20}[unit]})


@pytest.mark.parametrize(
    "options",
    [
        ("--users", "2000", "--items", "700", "--mean", "16", "--id-bytes", "7"),
        ("--users", "300", "--items", "1e3", "--mean", "3", "--user-mean", "20", "--id-bytes", "7"),
        ("--users", "2e3", "--items", "40", "--mean", "40", "--user-mean", "1", "--id-bytes", "7"),
        ("--users", "500", "--items", "500", "--id-bytes", "7", "--exclude-seen", "--pairs", "1e4"),
    ],
)
def test_the_budget_it_names_holds_them_all_with_that_mean_size(capsys: Told, options: tuple[str, ...]) -> None:
    settings = settings_in(told_by(capsys, *options))
    given = dict(zip(options[::2], options[1::2], strict=False))
    num_users, num_items = int(float(given["--users"])), int(float(given["--items"]))
    item_size = int(given.get("--mean", 16))
    trainer = build_trainer(settings)
    recommender = trainer.recommender
    ids = range(max(num_users, num_items))
    events = events_of([f"u{i % num_users}" for i in ids], [f"{i % num_items:07}" for i in ids])
    reached = 0
    while reached < len(ids):
        # Newcomers get the largest size until the first plan.
        trainer.resize(trainer.decision)
        reached, *_ = recommender.learn(events, reached, len(ids), 1 << 40)
    assert (recommender.num_users, recommender.num_items) == (num_users, num_items)
    words = recommender.split_words(settings.users_share)
    assert words[USER] >= num_users * int(given.get("--user-mean", item_size))
    assert words[ITEM] >= num_items * item_size
    trainer.check_ledger()
    assert trainer.account.counts().violations == 0
    if settings.exclude_seen:
        # Half of the room stays free, so that hardly a pair is pushed out.
        assert recommender.memory.seen.size >= 2 * 10_000 * 0.99


def test_the_ledger_lines_it_lists_are_those_of_the_model_it_names(capsys: Told) -> None:
    told = told_by(capsys, "--users", "2e4", "--items", "5e3", "--exclude-seen", "--pairs", "1e5")
    trainer = build_trainer(settings_in(told))
    for name, num_bytes in trainer.ledger().bytes_by_name.items():
        assert name in told
        assert num_bytes > 0


def test_how_many_a_budget_holds_is_the_inverse(capsys: Told) -> None:
    told = told_by(capsys, "--budget", "3MiB", "--mean", "8", "--users-per-item", "4")
    assert settings_in(told).memory.budget_bytes == 3 * 2**20
    num_users, num_items = (int(word.replace(",", "")) for word in told.split()[1:5:3])
    assert num_users == 4 * num_items
    assert Crowd(num_users, num_items, 8, 8, 12, 0).budget_bytes() <= 3 * 2**20
    assert Crowd(num_users + 4, num_items + 1, 8, 8, 12, 0).budget_bytes() > 3 * 2**20


def test_more_of_anything_takes_more_bytes() -> None:
    usual = Crowd(1000, 500, 8, 8, 12, 0)
    for more in (
        usual._replace(num_users=1100),
        usual._replace(num_items=600),
        usual._replace(user_size=9),
        usual._replace(item_size=9),
        usual._replace(id_bytes=30),
    ):
        assert more.budget_bytes() > usual.budget_bytes()
    with_pairs = usual._replace(num_pairs=1000)
    assert with_pairs._replace(num_pairs=9000).budget_bytes() > with_pairs.budget_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--users", "10"), "give --users and --items, or else --budget"),
        ((), "give --users and --items, or else --budget"),
        (("--users", "10", "--items", "5", "--budget", "1MiB"), "give --users and --items, or else --budget"),
        (("--users", "ten", "--items", "5"), "argument --users: 'ten' is no number of that: give a whole number"),
        (("--users", "0", "--items", "5"), "argument --users: '0' is no number of that"),
        (("--users", "1.5", "--items", "5"), "argument --users: '1.5' is no number of that"),
        (("--users", "nan", "--items", "5"), "argument --users: 'nan' is no number of that"),
        (
            ("--users", "10", "--items", "5", "--mean", "256"),
            "'256' is not a size: give a whole number of words from 1",
        ),
        (("--users", "10", "--items", "5", "--pairs", "5"), "--exclude-seen and --pairs go together"),
        (("--users", "10", "--items", "5", "--exclude-seen"), "--exclude-seen and --pairs go together"),
        (("--budget", "much"), "--budget 'much' is not a size"),
        (("--budget", "2KiB"), "--budget 2KiB holds nobody so: give at least "),
        (("--users", "2e8", "--items", "1e6"), "one model holds 8 GiB of embeddings at most"),
        (("--users", "1e12", "--items", "1e6"), "one model cannot hold so much: memory.max_entities = "),
        (
            ("--users", "10", "--items", "10", "--exclude-seen", "--pairs", "1e6"),
            "cannot hold so much: memory.seen_share",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(capsys: Told, options: tuple[str, ...], told: str) -> None:
    assert main(["size", *options]) == 2
    refusal = capsys.readouterr()
    assert refusal.out == ""
    assert refusal.err.startswith("scall: ")
    assert refusal.err.count("\n") == 1
    assert told in refusal.err

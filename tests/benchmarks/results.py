"""The README's tables: speed and memory, the service, what many entities cost, what trouble costs."""

from collections.abc import Iterator

from stream.adapters.units import count_text
from tests.benchmarks.entries import Entries, Figures
from tests.benchmarks.tables import (
    Goals,
    Row,
    Table,
    Told,
    by_stream,
    counted,
    duration,
    percent,
    short,
    span,
    table_with_goals,
)

MIB = 2**20


def learning_rates(figures: Figures, goals: Goals) -> Told:
    rates = {name: stream["uniform"]["events_per_s"] for name, stream in figures.items()}
    return Told(by_stream(rates, short), min(rates.values()) < goals["events_per_s"])


def elastic_to_uniform(figures: Figures, goals: Goals) -> Told:
    ratios = {name: stream["elastic_to_uniform"] for name, stream in figures.items()}
    return Told(by_stream(ratios, lambda ratio: f"{ratio:.2f}"), min(ratios.values()) < goals["elastic"])


def plain_rates(figures: Figures, goals: Goals) -> Told:
    uniform, elastic = (
        [stream[f"{kind}_examples_per_s"] for stream in figures.values()] for kind in ("uniform", "elastic")
    )
    text = f"{span(uniform)} uniform, {span(elastic)} elastic"
    return Told(text, min(uniform + elastic) < goals["examples_per_s"])


def everything_moves(figures: Figures, goals: Goals) -> Told:
    found = figures["everything_moves_ms"]
    return Told(f"{found} ms, {short(figures['entities'])} entities", found > goals["everything_moves_ms"])


def little_moves(figures: Figures, goals: Goals) -> Told:
    text = f"{percent(figures['share_of_learning'])}, {short(figures['entities_when_little_moves'])} entities"
    return Told(text, figures["share_of_learning"] > goals["share"])


def look_ups(figures: Figures, goals: Goals) -> Told:
    known, unknown = figures["known_per_s"], figures["unknown_per_s"]
    return Told(f"{short(known)}/s known, {short(unknown)}/s unknown", min(known, unknown) < goals["per_s"])


def churn(figures: Figures, goals: Goals) -> Told:
    growth, violations = figures["rss_growth_bytes"], figures["violations"]
    text = (
        f"{growth / MIB:.1f} MiB after the first window, {violations} violations, {short(figures['evictions'])} "
        f"evictions, {short(figures['events'])} events in {figures['seconds']:.0f} s"
    )
    return Told(text, growth >= goals["growth_bytes"] or violations > goals["violations"])


def end_to_end(figures: Figures, goals: Goals) -> Told:
    ours, bare = figures["events_per_s"], figures["bare_learner_events_per_s"]
    rates = f"({short(ours)} of {short(bare)} events/s, wall time)"
    return Told(percent(figures["ratio"]), figures["ratio"] < goals["ratio"], rates)


def start_up(figures: Figures, goals: Goals) -> Told:
    learnt, drawn = figures["first_event_learnt_s"], figures["whole_replay_of_one_event_s"]
    text = f"{learnt:.1f} s until the first event is learnt and checkpointed; {drawn:.1f} s with the page drawn"
    return Told(text, learnt > goals["seconds"])


SPEED = table_with_goals(
    "what (`python -m tests.benchmarks ...`)",
    (
        Row(
            "learning, mean size 16, 52 negatives, uniform (`learning`)",
            "learning",
            lambda goals: f"{short(goals['events_per_s'])} events/s",
            learning_rates,
        ),
        Row(
            "elastic against uniform at the same bytes (`learning`)",
            "learning",
            lambda goals: f"{goals['elastic']:g} x",
            elastic_to_uniform,
        ),
        Row(
            "plain setting, one negative (`plain`)",
            "plain",
            lambda goals: f"{short(goals['examples_per_s'])} examples/s",
            plain_rates,
        ),
        Row(
            "plan and resize, everything moves (`resizing`)",
            "resizing",
            lambda goals: f"{goals['everything_moves_ms']:g} ms",
            everything_moves,
        ),
        Row(
            "resizing every 2,000 events, of learning (`resizing`)",
            "resizing",
            lambda goals: percent(goals["share"]),
            little_moves,
        ),
        Row(
            "look-ups in batches, a million entities (`look_up`)",
            "look_up",
            lambda goals: f"{short(goals['per_s'])}/s",
            look_ups,
        ),
        Row(
            "`synthetic:churn` under 32 MiB (`churn`)",
            "churn",
            lambda goals: f"growth < {goals['growth_bytes'] / MIB:g} MiB, {goals['violations']:g} violations",
            churn,
        ),
        Row(
            "a million events from Parquet, 1 % tested, of the bare learner's rate (`end_to_end`)",
            "end_to_end",
            lambda goals: percent(goals["ratio"]),
            end_to_end,
        ),
        Row(
            "start-up, kernels compiled (`start_up`)",
            "start_up",
            lambda goals: f"{goals['seconds']:g} s",
            start_up,
        ),
    ),
)


def over_kafka_python(figures: Figures, goals: Goals) -> Told:
    found = figures["kafka_python"]
    rates = f"({short(found['service_per_s'])} of {short(found['bare_poll_per_s'])} records/s)"
    return Told(percent(found["ratio"]), found["ratio"] < goals["kafka_python"], rates)


def over_librdkafka(figures: Figures, goals: Goals) -> Told:
    found = figures["librdkafka"]
    rates = f"{short(found['service_per_s'])} against {short(found['file_per_s'])} records/s"
    more = f"({rates}; bare loop {short(found['bare_poll_per_s'])})"
    return Told(percent(found["ratio"]), found["ratio"] < goals["librdkafka"], more)


def freshness(figures: Figures, goals: Goals) -> Told:
    found = figures["freshness"]
    return Told(f"{found['p99_ms']:.0f} ms", found["p99_ms"] > goals["p99_ms"], f"(p50 {found['p50_ms']:.0f} ms)")


def largest_checkpoint(figures: Figures, goals: Goals) -> Told:
    size, found = max(figures["checkpoint"].items(), key=lambda pair: pair[1]["bytes"])
    stall, longest = found["stall_ms"], found["longest_stall_ms"]
    more = f"(at most {longest:.0f}) for {size}, durable after {found['durable_after_ms'] / 1000:.1f} s"
    return Told(f"{stall:.0f} ms", stall > goals["stall_ms"], more)


def kills(figures: Figures, goals: Goals) -> Told:
    found = figures["kills"]
    lost, doubled, most = found["lost"], found["doubled"], goals["lost_or_doubled"]
    wrong = bool(found["complaints"])
    more = f"in {found['kills']} kills, {found['at_named_steps']} of them at {found['named_steps']} named steps; "
    more += f"wrong: {found['complaints'][0]}" if wrong else "parameters bit-identical"
    return Told(f"{lost} lost, {doubled} doubled", lost + doubled > most or wrong, more)


def answers(figures: Figures, goals: Goals) -> Told:
    more = f"(p50 {figures['p50_ms']:.1f} ms)"
    if runs := figures.get("runs_p99_ms"):
        more += f", median of {len(runs)} runs: {', '.join(f'{p99:.0f}' for p99 in runs)} ms"
    return Told(f"{figures['p99_ms']:.0f} ms", figures["p99_ms"] > goals["p99_ms"], more)


def learner_loses(figures: Figures, goals: Goals) -> Told:
    loses = 1 - figures["share_while_answering"]
    return Told(percent(loses) if loses > 0 else "nothing that shows", loses > goals["learner_loses"])


def scrapes(figures: Figures, goals: Goals) -> Told:
    found = figures.get("scrape")
    if found is None:
        return Told("not measured by this benchmark then")
    slow = found["p50_ms"] > goals["scrape_ms"]
    return Told(f"{found['p50_ms']:.0f} ms", slow, f"(at most {found['max_ms']:.0f})")


def soak(figures: Figures, goals: Goals) -> Told:
    found = figures["soak"]
    if found is None:
        return Told("left out")
    faults = found["faults"]
    growth = ", ".join(f"{name} {mib:+.1f} MiB" for name, mib in found["growth_mib"].items())
    text = (
        f"{found['minutes']:g} minutes with {counted(faults.get('kill', 0), 'kill')}, "
        f"{counted(faults.get('fill disk', 0), 'full disk')} and {counted(faults.get('pause broker', 0), 'pause')} of "
        f"the broker: {counted(found['violations'], 'violation')} in {counted(found['looks'], 'look')}; "
        f"{growth or 'growth not told'}; {short(found['learnt'])} of {short(found['fed'])} events learnt once; "
        f"{found['unanswered']} requests without answer or refusal"
    )
    wrong = found["violations"] + found["unanswered"] + abs(found["fed"] - found["learnt"])
    return Told(text, wrong > goals["violations"])


SERVICE = table_with_goals(
    "what",
    (
        Row(
            "over kafka-python, 177-byte JSON, learning, 1 % tested, of a bare poll loop (`kafka`)",
            "kafka",
            lambda goals: percent(goals["kafka_python"]),
            over_kafka_python,
        ),
        Row(
            "over librdkafka, of a replay of the same events from a file (`kafka`)",
            "kafka",
            lambda goals: percent(goals["librdkafka"]),
            over_librdkafka,
        ),
        Row(
            "from written to learnt, 5,000 events/s, p99 (`kafka`)",
            "kafka",
            lambda goals: f"{goals['p99_ms']:g} ms",
            freshness,
        ),
        Row(
            "learning stands still for a checkpoint (`kafka`)",
            "kafka",
            lambda goals: f"{goals['stall_ms']:g} ms",
            largest_checkpoint,
        ),
        Row(
            "SIGKILL at named steps and at random moments (`reliability`; `make kill-matrix N=300`)",
            "reliability",
            lambda _: "nothing lost or doubled",
            kills,
        ),
        Row(
            "recommendations, 200 requests/s, 100,000 items of 28 words on average, while it learns, p99 (`serving`)",
            "serving",
            lambda goals: f"{goals['p99_ms']:g} ms",
            answers,
        ),
        Row(
            "what the learner loses meanwhile (`serving`)",
            "serving",
            lambda goals: percent(goals["learner_loses"]),
            learner_loses,
        ),
        Row(
            "scrape of `/metrics` (`serving`)",
            "serving",
            lambda goals: f"{goals['scrape_ms']:g} ms",
            scrapes,
        ),
        Row(
            "killed, the disk full, the broker hung, floods, slow clients (`reliability`; `make soak MINUTES=10`)",
            "reliability",
            lambda _: "no violation, no growth, all answered or refused",
            soak,
        ),
    ),
)


def figures_of(entries: Entries, benchmark: str) -> Figures | None:
    """Return a benchmark's figures, None where there are none."""
    return entries[benchmark].figures if benchmark in entries else None


def scaling(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each number of entities, and one of the exponents."""
    figures = figures_of(entries, "scaling")
    if figures is None:
        return
    for point in figures["points"]:
        times = (duration(point[f"{name}_s"]) for name in TIMES)
        yield count_text(point["entities"]), f"{point['bytes_per_entity']:.0f}", *times
    for name, slopes in (("exponent", figures["exponents"]), ("exponent, last tenfold", figures["last_tenfold"])):
        yield name, f"{slopes['bytes_per_entity']:.2f}", *(f"{slopes[f'{of}_s']:.2f}" for of in TIMES)


TIMES = {
    "event": "event",
    "event_and_resizes": "event with resizes",
    "plan": "plan",
    "resize_items": "resize items",
    "resize_all": "resize all",
    "rank": "best 20",
    "stall": "checkpoint stall",
    "durable": "durable",
}
"""What takes time at each number of entities."""
SCALING = Table(("entities", "bytes each", *TIMES.values()), ("scaling",), scaling)


def dead_letters(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each kind of record that cannot be used."""
    figures = figures_of(entries, "reliability") or {}
    for reason, tally in figures.get("dead_letters", {}).items():
        yield reason, *(str(tally[name]) for name in ("written", "lost", "doubled"))


DEAD_LETTERS = Table(("records that cannot be used", "written", "lost", "doubled"), ("reliability",), dead_letters)


def checkpoints(entries: Entries) -> Iterator[tuple[str, ...]]:
    """Give a row for each budget, the smallest first."""
    figures = figures_of(entries, "kafka") or {"checkpoint": {}}
    for size, row in sorted(figures["checkpoint"].items(), key=lambda pair: pair[1]["bytes"]):
        yield size, *(duration(row[f"{name}_ms"] / 1000) for name in ("stall", "longest_stall", "durable_after"))


CHECKPOINTS = Table(("budget", "stands still", "at most", "durable after"), ("kafka",), checkpoints)

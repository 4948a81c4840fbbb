/** What the page knows of the service: asked for anew every second, kept when the service is gone. */

const PATIENCE_MS = 5000;
const MAX_WINDOWS = 200;
const MAX_AGE_S = 600;
const GAP_S = 5;

/** Return the answer's status and body, JSON where it is; throws where there is none. */
async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  const body = await answer.json().catch(() => null);
  return { ok: answer.ok, code: answer.status, body };
}

/** The browser's own record of the last ten minutes, for figures of which the service keeps no history. */
class Samples {
  #kept = [];

  add(at, status) {
    const last = this.#kept.at(-1);
    if (last && at - last.at > GAP_S) this.#kept.push({ at: last.at + 1, figures: null });
    const sum = (lines) => lines.reduce((total, line) => total + line.bytes, 0);
    this.#kept.push({
      at,
      figures: {
        budget: status.budget_bytes,
        ledger: sum(status.ledger),
        arena: 4 * status.arena_words,
        used: 4 * status.arena_used_words,
        resident: status.resident_bytes,
        rate: status.events_per_second,
        lag: status.partitions.reduce((total, partition) => total + partition.lag, 0),
      },
    });
    this.#kept = this.#kept.filter((sample) => at - sample.at <= MAX_AGE_S);
  }

  /** Return one figure as points, [seconds before now, value], null where nothing was heard. */
  of(name, now) {
    return this.#kept.map(({ at, figures }) => [at - now, figures && figures[name]]);
  }

  /** Return how old the oldest is, as a negative number. */
  oldest(now) {
    return this.#kept.length ? this.#kept[0].at - now : 0;
  }
}

/** The service as seen from here. */
export class Service {
  status = null;
  silenceS = null;
  sides = null;
  windows = [];
  live = null;
  ready = null;
  samples = new Samples();
  /** Why it has nothing to tell yet; empty once it has. */
  excuse = "";
  /** Whether it was upgraded, and so may have another page than this. */
  hasNewPage = false;
  /** When it last answered, milliseconds since the epoch by this browser's clock; null before the first time. */
  heardMs = null;
  /** Whether the last question went unanswered. */
  isGone = false;

  /** Ask for everything once. */
  async refresh() {
    const last = this.windows.at(-1);
    const after = last ? `?after=${last.index}` : "";
    const paths = ["v1/state", `v1/windows${after}`, "live", "ready"];
    const answers = await Promise.all(paths.map((path) => ask(path).catch(() => null)));
    const [state, windows, live, ready] = answers;
    this.isGone = state === null;
    if (this.isGone) return;
    this.heardMs = Date.now();
    if (live?.body) this.live = live;
    if (ready?.body) this.ready = ready;
    if (state.ok) this.#take(state.body, windows);
    else this.excuse = state.body?.detail ?? `it answered ${state.code}`;
  }

  #take({ status, silence_s: silenceS, sides }, windows) {
    this.excuse = "";
    const isAnother = this.status !== null && status.started_s !== this.status.started_s;
    this.hasNewPage ||= isAnother && status.versions["scall-stream"] !== this.status.versions["scall-stream"];
    Object.assign(this, { status, silenceS, sides });
    this.samples.add(this.heardMs / 1000, status);
    // The one that answered about windows may have lived before the one that told its state: ask again.
    if (isAnother) this.windows = [];
    else if (windows?.ok) this.windows = [...this.windows, ...windows.body].slice(-MAX_WINDOWS);
  }

  /** Seconds since the service last answered. */
  get quietS() {
    return this.heardMs === null ? null : (Date.now() - this.heardMs) / 1000;
  }

  /** The time by the service's clock, seconds since the epoch; null before the first status. */
  get nowS() {
    return this.status && this.status.written_s + (this.silenceS ?? 0) + (this.quietS ?? 0);
  }
}

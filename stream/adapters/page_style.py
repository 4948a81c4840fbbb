"""The style sheet of the page: colours for light and for dark, and a layout from phone to desktop."""

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif;
  --page: #f6f6f3; --card: #ffffff; --edge: #e4e4df;
  --ink: #1b2230; --muted: #5d6675; --grid: #e7e8ea; --track: #eef0f3;
  --run: #3355cc; --popularity: #6b7380; --users: #0a7476; --items: #b0560a; --alarm: #b3261e;
  --good: #1f7a3d; --tint: #e9eefc; --alarm-tint: #fceeec; --good-tint: #e7f4eb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --card: #161b22; --edge: #262d37;
    --ink: #e9edf3; --muted: #9ba6b5; --grid: #272e38; --track: #222933;
    --run: #86a5ff; --popularity: #8f99a8; --users: #4cc7c3; --items: #f0a35c; --alarm: #ff8f85;
    --good: #6fd08c; --tint: #1d2846; --alarm-tint: #3a1f1e; --good-tint: #17301f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 var(--family);
  -webkit-text-size-adjust: 100%;
}
main { max-width: 1280px; margin: 0 auto; padding: 40px 32px 56px; }
header { margin-bottom: 28px; }
h1, h2, h3, p { margin: 0; }
h1 {
  font-size: clamp(1.6rem, 1.2rem + 1.6vw, 2.2rem); line-height: 1.2; letter-spacing: -0.02em;
  overflow-wrap: anywhere;
}
h2 { font-size: 1.15rem; margin: 40px 0 14px; letter-spacing: -0.01em; }
h3 { font-size: 0.95rem; line-height: 1.35; }
.kicker { color: var(--run); font-weight: 650; font-size: 0.85rem; margin-bottom: 4px; }
.facts { color: var(--muted); margin-top: 6px; overflow-wrap: anywhere; }
.chip {
  display: inline-block; padding: 2px 10px; border-radius: 99px; font-size: 0.85rem; font-weight: 600;
  background: var(--track); color: var(--muted); white-space: nowrap;
}
.chip.good { background: var(--good-tint); color: var(--good); }
.chip.alarm { background: var(--alarm-tint); color: var(--alarm); }
.chip.run { background: var(--tint); color: var(--run); }
.chips { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 12px; }
.tiles, .plots { display: grid; gap: 18px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr)); }
.plots { grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.tile, figure, details {
  background: var(--card); border: 1px solid var(--edge); border-radius: 14px; margin: 0; min-width: 0;
}
.tile { padding: 18px 20px 20px; display: flex; flex-direction: column; gap: 8px; }
.tile h2 { margin: 0; font-size: 0.9rem; font-weight: 600; color: var(--muted); letter-spacing: 0; }
.big {
  font-size: 2.05rem; font-weight: 680; line-height: 1.1; letter-spacing: -0.03em;
  display: flex; align-items: center; flex-wrap: wrap; gap: 4px 10px; font-variant-numeric: tabular-nums;
}
.big .of { font-size: 1rem; font-weight: 500; color: var(--muted); letter-spacing: 0; }
.big .pair { white-space: nowrap; }
.big .chip { letter-spacing: 0; }
.note { color: var(--muted); font-size: 0.9rem; overflow-wrap: anywhere; }
.note b { color: var(--ink); font-weight: 600; }
.bars {
  display: grid; grid-template-columns: auto 1fr auto; gap: 4px 10px; align-items: center;
  font-size: 0.85rem;
}
.bars span { white-space: nowrap; }
.bar { height: 8px; border-radius: 4px; background: var(--track); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 4px; background: var(--run); }
.bar i.popularity { background: var(--popularity); }
.bar i.alarm { background: var(--alarm); }
.tile > .bar { height: 10px; border-radius: 5px; margin: 4px 0 2px; }
figure { padding: 16px 18px 18px; display: flex; flex-direction: column; gap: 10px; }
figure svg { display: block; width: 100%; max-width: 430px; height: auto; overflow: visible; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: var(--family) !important; }
figcaption { color: var(--muted); font-size: 0.875rem; line-height: 1.45; margin-top: auto; }
.empty { color: var(--muted); }
details { margin-top: 12px; }
summary { cursor: pointer; padding: 13px 18px; font-weight: 600; border-radius: 14px; }
summary small { font-weight: 400; color: var(--muted); font-size: 0.875rem; margin-left: 6px; }
summary:focus-visible { outline: 3px solid var(--run); outline-offset: 2px; }
details > div { padding: 0 18px 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; padding: 6px 16px 6px 0; border-top: 1px solid var(--edge); vertical-align: top; }
th { font-weight: 500; color: var(--muted); }
td { overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
tr.sum th, tr.sum td { color: var(--ink); font-weight: 600; }
caption { text-align: left; color: var(--muted); font-size: 0.875rem; padding: 10px 0 8px; }
@media (max-width: 520px) {
  main { padding: 22px 12px 36px; }
  .tiles, .plots { gap: 12px; }
  figure { padding: 14px 12px 14px; }
  .tile { padding: 15px 16px 17px; }
}
"""

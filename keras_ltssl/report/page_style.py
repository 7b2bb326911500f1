"""The style sheet of the report."""

# Each pair has a contrast of 4.5 at least, on a light and on a dark page; a
# test computes them.
LIGHT = {
    "page": "#ffffff",
    "panel": "#f3f5f7",
    "text": "#1b1f24",
    "muted": "#4d5761",
    "accent": "#0b57d0",
    "alert": "#8a1c1c",
    "rule": "#c9d0d6",
}
DARK = {
    "page": "#14171a",
    "panel": "#1f2428",
    "text": "#e8eaed",
    "muted": "#aeb6be",
    "accent": "#8ab4f8",
    "alert": "#ffb4ab",
    "rule": "#414950",
}

_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
header,nav,main,footer{max-width:64rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.25;margin:1.5rem 0 .5rem}
h2{font-size:1.3rem;margin:2.5rem 0 .5rem;padding-top:.75rem;
border-top:1px solid var(--rule)}
h3{font-size:1.05rem;margin:1.5rem 0 .25rem}
p,li,dd,summary,figcaption,tbody th,td:last-child{overflow-wrap:anywhere}
p,ul,ol,dl{max-width:46rem;margin:.5rem 0}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,.wide:focus-visible
{outline:3px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-100rem}
.skip:focus{left:1rem;top:.5rem;background:var(--page);padding:.5rem}
nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;
gap:.25rem 1rem;max-width:none}
nav a{display:inline-block;padding:.3rem 0}
.limits,.note,.values,footer,dt{color:var(--muted)}
.alert{border-left:5px solid var(--alert);background:var(--panel);
padding:.6rem .9rem;max-width:46rem}
.alert strong{color:var(--alert)}
.short{background:var(--panel);padding:.5rem 1rem;border-radius:.5rem}
.short li{margin:.35rem 0}
dl{display:grid;grid-template-columns:minmax(8rem,12rem) 1fr;gap:.2rem 1rem}
dd{margin:0}
figure{margin:0}
.charts{display:grid;gap:1.5rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr))}
.chart svg:not(.sample){width:100%;height:auto;display:block}
.chart p{margin:.2rem 0}
.chart text{font-size:13px;fill:var(--muted)}
.grid{stroke:var(--rule)}
.curve{stroke:var(--accent);stroke-width:2;fill:none;stroke-linecap:round}
.sample{width:30px;height:10px;margin-right:.5rem}
.note,.values{font-size:.9rem}
.gallery{list-style:none;padding:0;max-width:none;display:grid;
gap:.6rem .5rem;grid-template-columns:repeat(auto-fill,minmax(4.7rem,1fr))}
.gallery img{display:block;width:100%;max-width:8rem;height:auto;
border:1px solid var(--rule);border-radius:3px}
.gallery figcaption{font-size:.8rem;line-height:1.3}
details{margin:.4rem 0 1rem}
summary{cursor:pointer;color:var(--accent);padding:.3rem 0}
.file{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.85em}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;margin:.5rem 0;font-size:.95rem}
caption{text-align:left;color:var(--muted);padding:.3rem 0}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;vertical-align:top;
border-bottom:1px solid var(--rule);font-variant-numeric:tabular-nums}
tbody th{font-weight:normal}
.interval{width:7rem;height:1rem;display:block;margin-top:.25rem}
.share{width:100%;max-width:16rem;height:.5rem;display:block}
.empty{fill:var(--rule)}
rect{fill:var(--accent)}
.whisker{stroke:var(--text);stroke-width:1.5;fill:none;
vector-effect:non-scaling-stroke}
.bar{opacity:.6}
footer{margin:3rem auto 2rem;font-size:.9rem}
@media (min-width:48rem){.gallery
{grid-template-columns:repeat(auto-fill,minmax(6.8rem,1fr))}}
@media (max-width:30rem){.interval{width:5rem}}
@media print{nav,.skip{display:none}figure{break-inside:avoid}}
"""


def style_sheet() -> str:
    """Returns the CSS of the page, with both schemes."""

    def variables(colors: dict[str, str]) -> str:
        listed = ";".join(f"--{name}:{value}" for name, value in colors.items())
        return f":root{{{listed}}}"

    return (
        variables(LIGHT)
        + f"@media (prefers-color-scheme:dark){{{variables(DARK)}}}"
        + _RULES
    )

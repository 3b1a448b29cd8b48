"""The report: tables in Markdown, and the ratios as a picture."""

from benchmarks.results import LIMIT, OURS, OURS_LATER, TARGET, figure, rows, worst

MiB = 1024 * 1024


def _number(value, form="{:.2f}"):
    return "" if value is None else form.format(value)


def _known(results, row, latency):
    return results["workloads"][row.workload]["at"][str(latency)]


def _heading(cells):
    return [f"| {' | '.join(cells)} |", "|" + "---|" * len(cells)]


def _columns(results, made):
    """Return the peers in the order of the command line, those that have anything to show."""
    return [name for name in results["peers"] if any(name in row.cells for row in made)]


def _cell(row, name, known):
    found = row.cells.get(name)
    if found is None:
        return ""
    if found.seconds is None:
        return f"failed: {found.failed[:60]}".replace("|", "/").replace("\n", " ")
    low, high = sorted(figure(each, *known) for each in (found.fastest, found.slowest))
    spread = f" ({low}..{high})" if found.runs > 1 and low != high else ""
    return f"{figure(found.seconds, *known)}{spread}{'' if not found.failed else ' (failed once)'}"


def speed_table(results, latency):
    """Return the lines of the table of one latency: medians, spread, ratios."""
    made = rows(results, latency)
    names = _columns(results, made)
    heads = ["workload", "unit", *names, LIMIT, "mountd / best peer", "write-back / best peer", "mountd / limit"]
    lines = _heading(heads)
    for row in made:
        at = _known(results, row, latency)
        known = (at["unit"], at["amount"])
        ratio = _number(row.ratio) + (f" (waiting: {row.waiting:.2f})" if row.waiting else "")
        cells = [at["title"], _unit(at), *(_cell(row, name, known) for name in names)]
        cells += [figure(row.limit, *known), _bold(ratio, row.slower), _number(row.later)]
        lines.append(f"| {' | '.join([*cells, _bold(_number(row.to_limit), row.far_from_limit)])} |")
    return lines


def _unit(at):
    return "ms" if at["unit"] == "ms each" and at["amount"] == 1 else at["unit"]


def _bold(text, missed):
    return f"**{text}**" if text and missed else text


def returned_table(results, latency):
    """Return the lines of the table of one latency: how long the calls took of what was waited for in the bucket."""
    made = [row for row in rows(results, latency) if any(cell.returned for cell in row.cells.values())]
    names = _columns(results, made)
    lines = _heading(["workload", "unit", *names])
    for row in made:
        at = _known(results, row, latency)
        found = [row.cells.get(name) for name in names]
        cells = [figure(cell and cell.returned, at["unit"], at["amount"]) for cell in found]
        lines.append(f"| {' | '.join([at['title'], _unit(at), *cells])} |")
    return lines if made else []


def cost_table(results, latency):
    """Return the lines of the table of one latency: CPU, memory, requests."""
    made = rows(results, latency)
    names = _columns(results, made)
    lines = _heading(["workload", *names])
    for row in [row for row in made if any(cell.memory for cell in row.cells.values())]:
        cells = [_cost(row.cells.get(name)) for name in names]
        lines.append(f"| {' | '.join([_known(results, row, latency)['title'], *cells])} |")
    return lines


def _cost(cell):
    if cell is None or cell.seconds is None:
        return ""
    asked = " ".join(f"{count} {kind}" for kind, count in cell.requests.items()) or "none"
    sent = f", {cell.received / MiB:.1f} MiB sent" if cell.received > MiB / 10 else ""
    return f"{cell.cpu:.2f} s, {cell.memory / MiB:.0f} MiB; {asked}{sent}"


def _targets(made, results, latency):
    missing = [row for row in made if row.missed]
    lines = [f"- {_known(results, row, latency)['title']}: {'; '.join(row.missed)}" for row in missing]
    rated = [row for row in made if row.ratio is not None]
    reached = sum(row.ratio >= TARGET for row in rated)
    return [f"{reached} of {len(rated)} rows are at least {TARGET} times as fast as the best peer.", "", *lines]


def _worst(made, results, latency):
    for row in worst(made):
        ratios = ", ".join(
            f"{_number(each)} {how}" for each, how in ((row.ratio, "write-through"), (row.later, "write-back")) if each
        )
        yield f"- {_known(results, row, latency)['title']}: {ratios} of {row.best}'s speed"


def markdown(results, picture=""):
    """Return the whole report."""
    lines = ["# Side by side", "", f"`{results['command']}`, {results['when']}, {results['minutes']:.0f} minutes.", ""]
    lines += [f"Machine: {results['machine']}. Scale: {results['scale']}, up to {results['runs']} runs.", ""]
    if picture:
        lines += [f"![How many times as fast as the best peer]({picture})", ""]
    for latency in results["latencies"]:
        made = rows(results, latency)
        lines += [f"## {_called(latency)}", "", *speed_table(results, latency), ""]
        lines += ["### Targets", "", *_targets(made, results, latency), "", "Worst rows:", ""]
        lines += [*_worst(made, results, latency), "", "### Until the calls returned", ""]
        lines += ["Writing, without waiting for the bucket.", "", *returned_table(results, latency), ""]
        lines += ["### What it cost", ""]
        lines += ["CPU seconds and peak memory of the daemon; requests that reached the store.", ""]
        lines += [*cost_table(results, latency), ""]
    return "\n".join([*lines, *_competitors(results), *_method(results)])


def _called(latency):
    return f"{latency} ms to the first byte of each response" if latency else "No added latency"


def _competitors(results):
    lines = ["## Competitors", ""]
    for name, peer in results["peers"].items():
        what = f"not measured: {peer['failed']}" if peer.get("failed") else f"`{peer.get('command', 'never mounted')}`"
        lines.append(f"- **{name}**, {peer.get('version', '')}: {what}")
    return [*lines, ""]


METHOD = """\
## How it is measured

- The store is a SeaweedFS on the same machine. Without latency, clients speak to it directly; with latency, through a
  proxy that holds back the first byte of each response and moves bytes inside the kernel.
- In each run, the competitors take turns, in another order each time; each starts with a fresh mount and an empty
  cache. Figures are medians (fastest..slowest). The clock runs in a process of its own, which is there before.
- What took a competitor longer than {patience:g} s is not repeated for it. With latency, fewer files are used where
  each is a request; the titles say how many.
- *cold*: never touched by that mount. *warm*: read before by that mount, then all page caches of the machine dropped.
  *hot*: read before.
- Writing is timed until a client of the bucket itself sees what was written (juicefs, whose objects are no files:
  until `close()` returned). When the calls had returned is in a table of its own.
- *best peer*: the fastest that keeps plain objects ({raw}); juicefs is there for orientation. *waiting*: the ratio
  to the fastest of those whose `close()` returns when the store has the file, as mountd's does, where one is faster.
- *limit*: the same requests with no file system (obstore or boto3, whichever is faster): for large files 8 MiB ranges
  or parts, 8 at a time; for small files one request each; for warm and hot rows the same act on local files; for
  formats that seek back and mapped weights: mountd's own plain write or `read()` of as much.
- Requests are those of SeaweedFS's metrics, less the ones sent to look for what was written; a GET that sent no body
  counts as HEAD.
- Bold ratios miss a target.
"""


def _method(results):
    raw = [name for name, peer in results["peers"].items() if peer["raw"] and name not in (OURS, OURS_LATER)]
    return [METHOD.format(patience=results["patience"], raw=", ".join(raw))]


def console(results, latency):
    """Return a short table for the terminal."""
    lines = [f"{_called(latency)}:"]
    for row in rows(results, latency):
        at = _known(results, row, latency)
        known = (at["unit"], at["amount"])
        done = ", ".join(f"{name} {_cell(row, name, known)}" for name in row.cells if name != LIMIT)
        ratios = f"x{_number(row.ratio)}" + (f" write-back x{row.later:.2f}" if row.later else "")
        limit = f", limit {figure(row.limit, *known)} ({_number(row.to_limit)})" if row.limit else ""
        lines.append(f"  {at['title']} [{_unit(at)}]: {ratios}   {done}{limit}")
    return lines


COLOURS = {"reached": "#2a7f62", "missed": "#b3452c"}


def draw(results, path):
    """Draw the ratios to the best peer, a panel for each latency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {
        latency: [row for row in rows(results, latency) if row.ratio or row.later] for latency in results["latencies"]
    }
    tallest = max(map(len, panels.values()), default=0)
    figure_, axes = pyplot.subplots(1, len(panels), figsize=(11 * len(panels), 2 + 0.36 * tallest), squeeze=False)
    for axis, (latency, made) in zip(axes[0], panels.items(), strict=True):
        _panel(axis, made, [_known(results, row, latency)["title"] for row in made])
        axis.set_title(f"mountd against the best peer that keeps plain objects\n{_called(latency)}")
    figure_.tight_layout()
    figure_.savefig(path, dpi=80)
    pyplot.close(figure_)


def _panel(axis, made, titles):
    """Draw one latency: a bar per row, and a mark for write-back mode."""
    for place, row in enumerate(made):
        ratio = row.ratio or row.later
        axis.barh(place, ratio - 1, left=1, color=COLOURS["reached" if ratio >= TARGET else "missed"], height=0.6)
        later = f" (write-back {row.later:.2f})" if row.later else ""
        right = max(ratio, row.later or 0, TARGET)
        style = {"textcoords": "offset points", "va": "center", "fontsize": 8}
        axis.annotate(f"{ratio:.2f} x {row.best}{later}", (right, place), (6, 0), **style)
        if row.later:
            axis.plot(row.later, place, marker="D", color="black", markersize=4)
    axis.set_xscale("log")
    axis.set_yticks(range(len(made)), titles, fontsize=9)
    axis.set_ylim(len(made) - 0.4, -0.6)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.axvline(TARGET, color="black", linewidth=0.8, linestyle="--")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5), high * 12)
    ticks = [
        tick
        for tick in (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000)
        if axis.get_xlim()[0] <= tick <= high
    ]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(f"times as fast (dashed: the target, {TARGET}; diamond: write-back mode)")

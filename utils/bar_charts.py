"""Bar charts by matplotlib: numbers in, (H, W, 3) uint8 RGB pictures out."""

from collections.abc import Iterable

import numpy as np

from utils.chart_parts import COLOURS, NORMAL, SMALL, all_names, checked_groups, make_panels, short_label, to_pixels


def bars(
    groups: dict[str, dict[str, tuple[float, float]]], origin: str, title: str, plain: Iterable[str]
) -> np.ndarray:
    """Draw means as bars that begin at that of `origin`, a panel for each group: label -> name -> (mean, spread).

    The names come from top to bottom in their order in the first group; a spread that is not finite is not drawn, and
    the bars of `plain` names are grey.
    """
    groups = checked_groups(groups, (2,), "bars")
    names, plain = all_names(groups), set(plain)
    size = (4.6, 0.5 + 0.34 * len(names))
    figure, axes = make_panels(title, [""] * len(groups), "", "", len(groups), size, sharey=True)
    for axis, (label, values) in zip(axes, groups.items()):
        axis.set_xlabel(label, size=NORMAL)
        start = values[origin][0] if origin in values else np.nan
        for row, name in enumerate(names):
            mean, spread = values.get(name, (np.nan, np.nan))
            if np.isnan(mean):
                continue
            low = mean if np.isnan(start) else start
            axis.barh(row, mean - low, left=low, height=0.66, color="0.72" if name in plain else COLOURS[0])
            if np.isfinite(spread):
                axis.plot([mean - spread, mean + spread], [row, row], color="black", linewidth=1.4)
            end = max(low, mean + np.nan_to_num(spread)), row
            axis.annotate(f"{mean:#.4g}", end, (5, 0), textcoords="offset points", size=SMALL, va="center")
        axis.axvline(start, color="0.3", linewidth=1)
        axis.margins(x=0.2)
    axes[0].set_yticks(range(len(names)), [short_label(name) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    return to_pixels(figure)

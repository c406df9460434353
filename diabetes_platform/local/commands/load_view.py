"""What a person sees of a load run."""

from rich.console import Group
from rich.table import Table

from diabetes_platform.streaming.load_plan import Kind, LoadPlan
from diabetes_platform.streaming.load_tally import HOPS, LoadTally


def load_table(tally: LoadTally, plan: LoadPlan) -> Group:
    """Return the counts of a run and the times of each hop."""
    title = f"{plan.rate:g} events a second for {plan.seconds:g} s"
    counts = Table(title=title, title_justify="left")
    columns = {
        "patients sent": tally.sent[Kind.PATIENT],
        "answered": tally.answered,
        "waiting": len(tally.waiting),
        "invalid sent": tally.sent[Kind.INVALID],
        "rejected": tally.rejected,
        "duplicates sent": tally.sent[Kind.DUPLICATE],
    }
    for name in columns:
        counts.add_column(name, justify="right")
    counts.add_row(*(f"{number:,}" for number in columns.values()))
    hops = Table()
    hops.add_column("hop")
    hops.add_column("from → to")
    for name in ("p50 ms", "p99 ms"):
        hops.add_column(name, justify="right")
    for hop in HOPS:
        shares = (tally.quantile(hop.name, share) for share in (0.5, 0.99))
        hops.add_row(hop.name, hop.description, *("-" if x is None else f"{x:.1f}" for x in shares))
    return Group(counts, hops)

"""What mox-trackers offers: names only, so that listing them imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import TrackerOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_trackers() -> Iterator[TrackerOffer]:
    """Offer the trackers."""
    yield TrackerOffer("csv", "mox_trackers.csv_files:CsvFiles", summary="metrics.csv and run.csv in log_dir")
    yield TrackerOffer(
        "mlflow", "mox_trackers.mlflow_runs:MlflowRuns", summary="a run in MLflow; needs mox-trackers[mlflow]"
    )
    yield TrackerOffer(
        "wandb", "mox_trackers.wandb_runs:WandbRuns", summary="a run in Weights & Biases; needs mox-trackers[wandb]"
    )

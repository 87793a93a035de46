"""How the numbers of a report are written on its page."""

from __future__ import annotations

#: name of a number -> title, factor, format. A name that is not here is shown as it is.
NUMBERS: dict[str, tuple[str, float, str]] = {
    "rel": ("REL %", 100, ".2f"),
    "rmse_m": ("RMSE mm", 1000, ".1f"),
    "rmse_cm": ("RMSE cm", 1, ".2f"),
    "rmse_capped_m": ("RMSE, capped, mm", 1000, ".1f"),
    "mae_m": ("MAE mm", 1000, ".1f"),
    "median_abs_m": ("median |error| mm", 1000, ".1f"),
    "bias_m": ("bias mm", 1000, "+.1f"),
    "delta_1_05": ("δ 1.05 %", 100, ".1f"),
    "delta_1_10": ("δ 1.10 %", 100, ".1f"),
    "delta_1_25": ("δ 1.25 %", 100, ".1f"),
    "coverage": ("covered %", 100, ".1f"),
    "share": ("share of pixels %", 100, ".1f"),
    "mean_deg": ("mean °", 1, ".2f"),
    "median_deg": ("median °", 1, ".2f"),
    "within_11_25": ("within 11.25° %", 100, ".1f"),
    "within_22_5": ("within 22.5° %", 100, ".1f"),
    "within_30": ("within 30° %", 100, ".1f"),
    "tae": ("TAE %", 1, ".3f"),
    "tae_last_write": ("TAE, no z-buffer, %", 1, ".3f"),
    "warped_difference": ("warped difference %", 100, ".3f"),
    "seam_across": ("jump between clips %", 100, ".3f"),
    "seam_inside": ("jump inside clips %", 100, ".3f"),
    "seam_ratio": ("seam ratio", 1, ".2f"),
    "depth_pro_f1": ("F1", 1, ".3f"),
    "depth_pro_precision": ("precision", 1, ".3f"),
    "depth_pro_recall": ("recall", 1, ".3f"),
    "chamfer_m": ("chamfer mm", 1000, ".2f"),
    "accuracy_m": ("accuracy mm", 1000, ".2f"),
    "completeness_m": ("completeness mm", 1000, ".2f"),
    "f_score_5mm": ("F-score at 5 mm", 1, ".3f"),
    "abs_rel": ("AbsRel %", 100, ".2f"),
    "sq_rel_m": ("SqRel mm", 1000, ".2f"),
    "delta_1": ("δ1 %", 100, ".2f"),
    "delta_2": ("δ2 %", 100, ".2f"),
    "delta_3": ("δ3 %", 100, ".2f"),
    "rmse_log": ("RMSE log", 1, ".4f"),
    "log10": ("log10", 1, ".4f"),
    "inverse_rmse": ("iRMSE 1/m", 1, ".4f"),
    "silog": ("SILog", 1, ".2f"),
    "relative_temporal_difference": ("temporal", 1, ".4f"),
    "boundary_f1": ("boundary F1", 1, ".3f"),
    "boundary_precision": ("precision", 1, ".3f"),
    "boundary_recall": ("recall", 1, ".3f"),
}


def number(value: float | None, factor: float, form: str) -> str:
    """A dash for None."""
    return "–" if value is None else format(factor * value, form)


def count(pixels: int) -> str:
    """With commas."""
    return f"{pixels:,}"

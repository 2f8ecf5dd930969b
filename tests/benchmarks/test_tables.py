"""Tables and the few figures computed for them."""

import numpy as np
import pytest

from benchmarks import tables


def result(*seconds: float, **more: float) -> dict:
    return {"seconds": list(seconds), "peak_gib": 2.0, "blocks": 256, "atoms": 1900, "flops": 10e9, **more}


FAILED = {"error": "out of memory"}
PEAKS = {"float32": 100e9, "bfloat16": 400e9}


def cells(text: str, row: int) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[2 + row].strip("|").split("|")]


def test_ratios_are_of_medians() -> None:
    plain, ours = result(30.0, 40.0, 50.0), result(1.0, 2.0, 9.0)
    assert tables.faster(plain, ours) == "20 x"
    assert tables.time_cell(ours) == "2 (1)"
    assert tables.lighter({**plain, "peak_gib": 9.0}, ours) == "4.5 x"


def test_a_failed_measurement_leaves_no_ratio() -> None:
    row = cells(tables.model_table([(result(1.0), FAILED)]), 0)
    assert row[:5] == ["256", "1,900", "out of memory", "1 (1)", ""]
    row = cells(tables.model_table([(FAILED, result(1.0))]), 0)
    assert row[3] == "out of memory"
    assert row[4] == row[7] == ""


def test_noise_is_shown() -> None:
    ours = result(1.0, 1.5) | {"runs": [[1.0, 1.0], [1.1, 1.1]]}
    assert tables.spread(ours) == "50 %"
    assert tables.drift(ours) == "10 %"
    assert tables.drift(result(1.0)) == ""


@pytest.mark.parametrize("power", [0.8, 1.0, 2.0])
def test_the_slope_is_the_exponent(power: float) -> None:
    sizes = np.array([256, 1000, 16000])
    assert tables.slope(sizes.tolist(), (3e-3 * sizes**power).tolist()) == pytest.approx(power)


def test_growth_needs_two_sizes() -> None:
    several = [result(1.0, blocks=256), FAILED, result(4.0, blocks=1024)]
    assert "power 1.00 from 256 to 1,024 blocks" in tables.growth(several, "Time")
    assert tables.growth(several[:2], "Time") == ""


def test_shares_of_the_peaks() -> None:
    text = tables.arithmetic_table(
        [("step", result(0.2)), ("failed", FAILED), ("uncounted", result(1, flops=0))], PEAKS
    )
    assert cells(text, 0) == ["step", "10 GFLOP", "50 GFLOP/s", "50 %", "12 %"]
    assert len(text.splitlines()) == 3


def test_variants_are_compared_with_the_first() -> None:
    found = {"float32": result(4.0), "bfloat16": result(2.0), "channelwise": {"error": "not available"}}
    row = cells(tables.variant_table([("step", found)]), 0)
    assert row == ["step", "4 (4)", "2.00", "2 (2)", "2 x", "2.00", "not available", "", ""]


def test_shares_of_a_gpu() -> None:
    found = result(0.1, traffic=50e9)
    peaks = {"float32": 1e12, "bfloat16": 2e12, "copy": 1e12}
    text = tables.device_table([("step", found), ("large", FAILED)], peaks)
    assert cells(text, 0) == ["step", "256", "100", "2.00", "0.10", "10 %", "5 %", "500", "50 %"]
    assert cells(text, 1)[2] == "out of memory"


def test_profile_shares_sum_to_the_step() -> None:
    text = tables.profile_table(result(2.0) | {"groups": {"a": 3.0, "b": 1.0}})
    assert cells(text, 0) == ["a", "75.0 %", "1.5 s"]
    assert cells(text, 1) == ["b", "25.0 %", "0.5 s"]


def test_loading_is_compared_with_plain_and_reference() -> None:
    seconds = {"read": [0.1], "noised": [1.0], "collated": [2.0, 2.0, 9.0], "plain": [20.0]}
    text = tables.loading_table({"blocks": 340_000, "seconds": seconds}, 17_000)
    assert cells(text, 2)[1:] == ["170,000", "10 x", "10 x"]
    assert cells(text, 3)[1:] == ["17,000", "1 x", "1 x"]


def test_structures_are_compared_by_the_best_run() -> None:
    files = [
        {"id": "a", "atoms": 10, "ours": [0.1, 0.2], "plain": [1.0, 2.0]},
        {"id": "b", "atoms": 20, "ours": [0.1], "plain": [3.0]},
    ]
    text = tables.structure_table(files)
    assert cells(text, 0) == ["a", "10", "1000.0", "100.0", "10.0 x"]
    assert cells(text, 2) == ["all", "", "4000.0", "200.0", "20.0 x"]

"""The figures that a reader looks for first, out of what the other benchmarks have written."""

from _timing import NAMED, RESULTS

from tools.tree import read_json

BARS = {
    "udu_step_over_autograd": "at least 20 with AVX512, 10 with AVX2",
    "udu_step_over_flops": "at most 2.5 with AVX512, 5 with AVX2",
    "float32_decayed_over_fresh": "at most 1.2",
    "figure1_seconds": "at most 360",
    "scale_ordered_over_unordered_1e5": "at least 2",
    "scale_peak_gb_1e5": "at most 2.5",
    "projection_share_1280": "at most 0.1",
    "batched_over_loop": "at least 5",
    "rank_discovery_right": "at least 9, of 10",
}


def main():
    found = read_json(RESULTS) or {}
    for name in NAMED:
        value = found.get(name, "not measured")
        shown = f"{value:.3g}" if isinstance(value, float) else value
        if name == "machine" and name in found:
            shown = ", ".join(map(str, value.values()))
        print(f"{name:34}{shown:>14}  {BARS.get(name, '')}".rstrip())
    print(f"all of it: {RESULTS}")


if __name__ == "__main__":
    main()

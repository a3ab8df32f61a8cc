"""The script of back-projection's speed measures and says that its last figure is scaled."""

from benchmarks.reconstruct import measured, table


def test_a_few_particles_are_enough(tmp_path):
    row = measured("box 48", tmp_path, particles=4)
    assert row["images"] == 4 * 41
    assert row["images_per_second"] > 0
    text = table({"machine": "here", "rows": [row]})
    assert "22,291 × 41 images on 16 cores (min, scaled)" in text
    assert "| box 48 | 164 |" in text

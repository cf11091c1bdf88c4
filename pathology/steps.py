"""The stages of slides by name: tiles, then features."""

from offsite.training.steps import Step

TILE = Step(
    name="tile",
    help="""Find the tissue of each slide and lay tiles of a physical size over it.

Takes a job of slides; gives tiles.csv, a row for every slide, and a table of tiles for each.

Example: offsite workflow tile job.yaml""",
    settings=("tiles",),
    table="tiles.csv",
    extras={
        "geojson": "Also write tissue and tiles for QuPath.",
        "pictures": "Also write tiles.html: every slide and what became of its tiles, worst first.",
    },
)
EMBED = Step(
    name="embed",
    help="""Encode the tiles of each slide as features.

Takes a job whose slides are tiled; gives features.csv and a feature file for each slide. Of a job
that names a folder of features (features.folder) each file is read and gets its row; no tiles are needed.

Example: offsite workflow embed job.yaml --device cuda""",
    settings=("tiles", "encoder", "features"),
    table="features/features.csv",
    device="encoder.device",
)
STEPS = (TILE, EMBED)

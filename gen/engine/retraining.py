"""How the shipped models are retrained: the jobs of each in their order, as arguments to Python.

`train/reproduce.py` runs them. A model other than text stands on the text model that was retrained before it, or on the
shipped one; views, temporal and bone learn from phantoms, which their jobs make, and so, beside radiographs, do judges.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "gen" / "weights" / "text_256"
# of the budget; encoding comes on top
SHARES = {"vae": 0.12, "decoder": 0.12, "words": 0.05, "guide": 0.25, "text": 0.46}
FIRST = 0.8  # of the minutes for bones: the plain network, whose misses the rest is for
SERIES = {  # followed phantoms: images, seed, findings other than usual
    "small": (2400, 31, "edema=0,effusion=0,pneumothorax=0,consolidation=0.6,atelectasis=0.6"),
    "treated": (7500, 21, "edema=0.5,effusion=0.5,consolidation=0.5,atelectasis=0.5,pneumothorax=0.03,nodule=0.05"),
    "usual": (6600, 11, ""),
}
THREE = "PA,LATERAL,OBLIQUE"
STUDIES = {12: (1350, THREE), 54: (240, "AP SUPINE,PA,LATERAL"), 55: (240, "AP,AP SUPINE,OBLIQUE")}  # images by seed
CODED = {52: (1350, THREE), 53: (900, THREE), 56: (300, "AP SUPINE,PA,LATERAL"), 57: (300, "AP,LATERAL,OBLIQUE")}
SMALL = 0.2  # of the minutes for follow-ups: the findings that are drowned by others
CODER, BEGINNING, STUDENT = 0.1, 0.1, 0.4  # of the minutes for views: coder of studies, first answer, few-step student
JUDGES = {"reader": 0.55, "view_reader": 0.2, "lungs": 0.1, "clip": 0.15}  # of their minutes
CLEARING = 0.3  # of the minutes for a few-step model: guiding itself
UNBOUNDED = "train.steps=10000000"
FREE = "memorisation=null"  # for what is trained too little to know an image


def text_jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """Codec, moments, words, text model: the command lines in their order, as arguments to Python.

    The text model stops once on its way, for the guide of its few-step student.
    """
    data = f"data.index={index}"

    def limit(part: str) -> list[str]:
        return [UNBOUNDED, f"train.minutes={minutes * SHARES[part]:g}"]

    codec, moments, decoder = out / "vae", out / "moments", out / "decoder"
    words, guide, text = out / "words", out / "guide", out / "text"
    train, configs = ROOT / "train", ROOT / "configs"
    start, go_on = f"initialise_from={codec / 'export'}", f"initialise_from={guide / 'export'}"
    latents = [f"codec={codec / 'export'}", f"data.moments={moments}", f"text.model={words / 'export'}"]
    return [
        [f"{train}/vae.py", f"{configs}/vae_256.yaml", data, f"run={codec}", *limit("vae")],
        [f"{train}/vae.py", f"{configs}/vae_256_decoder.yaml", data, f"run={decoder}", start, *limit("decoder")],
        [f"{train}/encode.py", f"{configs}/encode_256.yaml", data, f"codec={codec / 'export'}", f"out={moments}"],
        [f"{train}/text.py", f"{configs}/text_encoder.yaml", f"run={words}", *limit("words")],
        [f"{train}/ldm.py", f"{configs}/text_256.yaml", data, f"run={guide}", *latents, *limit("guide"), FREE],
        [f"{train}/ldm.py", f"{configs}/text_256.yaml", data, f"run={text}", go_on, *latents, *limit("text")],
        [f"{train}/publish.py", f"{text}/export", f"{out}/model", f"--index={index}", f"--codec={decoder}/export"],
    ]


def fast_jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """The few-step student of the text model, autoguided where that was retrained here; then guided by itself."""
    teacher, (encoding, moments) = _text_model(out), _moments(index, out)
    early, run, clear = out / "guide" / "export", out / "fast", out / "fast_clear"
    guide = [f"guide={early}"] if teacher != SHIPPED else ["guide=null", "consistency.guide_scale=0"]
    flow = _training("lcm.py", "mean_velocity_256", index, moments, run, minutes * (1 - CLEARING))
    clearing = _training("lcm.py", "self_guided_256", index, moments, clear, minutes * CLEARING)
    publish = [f"{ROOT}/train/publish.py", f"{clear / 'export'}", f"{out / 'fast_model'}", f"--index={index}"]
    return [*encoding, [*flow, f"teacher={teacher}", *guide], [*clearing, f"teacher={run / 'export'}"], publish]


def view_jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """Views of one study, from the text model, on radiographs and phantoms; their few-step student, then by itself.

    Before these come the coder of studies, on phantoms of its own, and the first answer that builds on it.
    """
    base, views, both = _text_model(out), out / "views", out / "views.parquet"
    encoding, moments = _moments(index, out)
    coding, coder = _coder_jobs(base, out, minutes * CODER)
    studies, indexes, stores = _studies(STUDIES, base, out)
    merge = ["merge", f"{index}", *indexes, "--may-ship-only", "--out", f"{both}"]
    settings = both, f"[{', '.join([f'{moments}', *stores])}]"
    first = _training("first_view.py", "first_view_256", *settings, out / "views_first", minutes * BEGINNING)
    training = _training("ldm.py", "view_256", *settings, views, minutes * (1 - CODER - BEGINNING - STUDENT))
    share, run = minutes * STUDENT, out / "views_fast"
    student = _training("lcm.py", "view_lcm_256", *settings, run, share * (1 - CLEARING))
    clearing = _training("lcm.py", "self_guided_256", *settings, out / "views_clear", share * CLEARING)
    fast = SHIPPED.with_name("text_256_fast") if base == SHIPPED else out / "fast_clear" / "export"
    over = [f"initialise_from={fast}", f"initialise_over={base}"]
    start = over if fast.is_dir() else ["initialise_from=null", "initialise_over=null"]
    return [
        *encoding,
        *coding,
        *studies,
        ["-m", "gen.phantom.cli", *merge],
        [*first, f"codec={base}/vae", f"coder={coder}"],
        [*training, f"initialise_from={base}", f"codec={base}/vae", f"task.first={out / 'views_first' / 'export'}"],
        [*student, f"teacher={views / 'export'}", *start],
        [*clearing, f"teacher={run / 'export'}", "data.repeat={phantom: 5}"],
    ]


def _coder_jobs(base: Path, out: Path, minutes: float) -> tuple[list[list[str]], Path]:
    """The coder of studies, and where it will be."""
    studies, indexes, stores = _studies(CODED, base, out)
    both, run = out / "codes.parquet", out / "views_coder"
    training = _training("study_code.py", "study_code_256", both, f"[{', '.join(stores)}]", run, minutes)
    merge = ["-m", "gen.phantom.cli", "merge", *indexes, "--out", f"{both}"]
    return [*studies, merge, [*training, f"codec={base}/vae"]], run / "export"


def _studies(sets: dict[int, tuple[int, str]], base: Path, out: Path) -> tuple[list[list[str]], list[str], list[str]]:
    """Phantoms of several views a study and their moments: the jobs, the indexes, the stores."""
    jobs, indexes, stores = [], [], []
    for seed, (number, views) in sets.items():
        phantoms = out / f"phantom_{seed}"
        jobs.append(_phantoms(phantoms, [f"--n={number}", f"--views={views}", "--followed=0", f"--seed={seed}"]))
        indexes.append(f"{phantoms / 'index.parquet'}")
        stores.append(f"{out / f'moments_{seed}'}")
        jobs.append([*_encoding(phantoms / "index.parquet", base, Path(stores[-1])), "variants=1"])
    return jobs, indexes, stores


def temporal_jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """The next radiograph, on phantoms with events: first of findings that are drowned by larger ones, then of all."""
    base, both, first = _text_model(out), out / "series.parquet", out / "temporal_first"
    jobs = []
    for name, (number, seed, findings) in SERIES.items():
        phantoms, moments = out / f"phantom_{name}", out / f"moments_{name}"
        settings = [f"--n={number}", f"--seed={seed}", "--followed=1", f"--findings={findings}"]
        jobs.append(_phantoms(phantoms, settings))
        jobs.append([*_encoding(phantoms / "index.parquet", base, moments), "variants=1"])
    indexes = [f"{out}/phantom_{name}/index.parquet" for name in SERIES]
    stores = ", ".join(f"{out}/moments_{name}" for name in SERIES)
    small = _training("ldm.py", "temporal_256", Path(indexes[0]), out / "moments_small", first, minutes * SMALL)
    all_of_them = _training("ldm.py", "temporal_256", both, None, out / "temporal", minutes * (1 - SMALL))
    latents = [f"codec={base}/vae", f"text.model={base}"]
    return [
        *jobs,
        ["-m", "gen.phantom.cli", "merge", *indexes, "--out", f"{both}"],
        [*small, *latents],
        [*all_of_them, *latents, f"data.moments=[{stores}]", f"initialise_from={first / 'export'}"],
    ]


def bone_jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """Bone suppression, on phantoms with the grey levels of radiographs: a plain network, then what it misses."""
    phantoms, looks, first = out / "phantom_pairs", out / "looks", out / "bone_first"
    vary = ["vary-pairs", f"{phantoms}/index.parquet", f"--out={looks}", f"--like={index}", "--times=2", "--seed=5"]
    plain = _training("bone_regression.py", "bone_unet_256", looks / "index.parquet", None, first, minutes * FIRST)
    refining = _training("ldm.py", "bone_256", looks / "index.parquet", None, out / "bone", minutes * (1 - FIRST))
    return [
        _phantoms(phantoms, ["--n=1800", "--followed=1", "--seed=11"]),
        ["-m", "gen.phantom.cli", *vary],
        plain,
        [*refining, f"task.first={first / 'export'}"],
    ]


def judge_jobs(index: Path, out: Path, minutes: float) -> list[list[str]]:
    """The reader, the reader of views, lungs and heart, image and text; each is published, which measures it."""
    frontal, turned, fresh = (out / f"phantom_{name}" for name in ("frontal", "turned", "fresh"))
    usual = "--views=PA,LATERAL,AP"
    jobs = [
        _phantoms(frontal, ["--n=600", usual, "--seed=11"]),
        _phantoms(turned, ["--n=1350", f"--views={THREE}", "--followed=0", "--seed=12"]),
        _phantoms(fresh, ["--n=60", usual, "--seed=41"]),
    ]
    recipes = {
        "reader": ("classifier.py", "reader_128", frontal, f"view_index={frontal}/index.parquet"),
        "view_reader": ("classifier.py", "view_reader_64", turned, f"view_index={turned}/index.parquet"),
        "lungs": ("segmenter.py", "lungs_256", frontal, f"phantom={frontal}/index.parquet"),
        "clip": ("contrastive.py", "clip_128", None, f"clip.reader={out / 'reader' / 'export'}"),
    }
    measured = [f"--index={index}", f"--test-phantoms={fresh}/index.parquet"]
    for name, (job, recipe, phantoms, setting) in recipes.items():
        run = out / name
        jobs.append([*_training(job, recipe, index, None, run, minutes * JUDGES[name]), setting])
        counted = [] if phantoms is None else [f"--trained-phantoms={phantoms}/index.parquet"]
        jobs.append([f"{ROOT}/train/publish_judge.py", f"{run / 'export'}", f"{out / name}_model", *measured, *counted])
    return jobs


MODELS = {"text": text_jobs, "fast": fast_jobs, "views": view_jobs, "temporal": temporal_jobs, "bone": bone_jobs}
MODELS |= {"judges": judge_jobs}


def _text_model(out: Path) -> Path:
    """The text model that was retrained here, or the shipped one."""
    return out / "model" if (out / "model").is_dir() else SHIPPED


def _moments(index: Path, out: Path) -> tuple[list[list[str]], Path]:
    """The radiographs' moments: those that the text model was retrained on, or new ones by the shipped codec."""
    if (out / "model").is_dir():
        return [], out / "moments"
    return [_encoding(index, SHIPPED, out / "moments_shipped")], out / "moments_shipped"


def _encoding(index: Path, model: Path, out: Path) -> list[str]:
    recipe = ROOT / "configs" / "encode_256.yaml"
    return [f"{ROOT}/train/encode.py", f"{recipe}", f"data.index={index}", f"codec={model / 'vae'}", f"out={out}"]


def _phantoms(out: Path, options: list[str]) -> list[str]:
    return ["-m", "gen.phantom.cli", "phantom", f"--out={out}", *options]


def _training(job: str, recipe: str, index: Path, moments: Path | str | None, run: Path, minutes: float) -> list[str]:
    data = [f"data.index={index}", *([] if moments is None else [f"data.moments={moments}"]), f"run={run}"]
    return [f"{ROOT}/train/{job}", f"{ROOT}/configs/{recipe}.yaml", *data, UNBOUNDED, f"train.minutes={minutes:g}"]

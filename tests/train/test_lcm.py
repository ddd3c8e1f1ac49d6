"""train/lcm.py from end to end: a tiny pipeline distilled, resumed, sampled in few steps; adapters; refusals."""

import json
import shutil

import pytest
import torch
import yaml
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file

from gen.engine.distillation import ADAPTED, DistillationLearner, add_change
from gen.engine.distillation import DistillationJob as Job
from gen.errors import UserError, exit_on_user_error
from gen.models.denoiser import Denoiser, student_of
from gen.pipeline import CXRPipeline
from gen.train import lcm

TRAIN = {"steps": 24, "batch_size": 4, "learning_rate": 3e-3, "lr_schedule": "constant", "weight_decay": 0.0}
TRAIN |= {"checkpoint_every": 12, "log_every": 1, "ema_decay": 0.9}
CONSISTENCY = {"grid": 4, "solver": "midpoint", "guidance": [1.0, 3.0], "guidance_channels": 8, "target_decay": 0.5}


def main(*arguments):
    """The job in this process, ending as the command would."""
    with exit_on_user_error():
        lcm.main([str(argument) for argument in arguments])


def unet_weights(folder):
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def recipe(world, tiny_pipeline_dir, tmp_path_factory):
    """A recipe that distils the tiny text model on the sixteen radiographs."""
    path = tmp_path_factory.mktemp("recipe") / "lcm.yaml"
    data = {"index": str(world / "index.csv"), "resolution": 32}
    values = {"run": "given by each test", "data": data, "teacher": str(tiny_pipeline_dir), "train": TRAIN}
    path.write_text(yaml.safe_dump({**values, "consistency": CONSISTENCY}))
    return path


@pytest.fixture(scope="module")
def straight(recipe, tmp_path_factory):
    """A run without interruption."""
    run = tmp_path_factory.mktemp("straight") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the tests have it: the runs that are compared must round alike
    main(recipe, f"run={run}")
    torch.set_num_threads(threads)
    return run


def check_one_step(student, teacher):
    """One step comes nearer to what the teacher reaches in many than one step of the teacher does."""

    def draw(pipeline, steps):
        prompts = ["PA chest radiograph."] * 8
        return pipeline(prompts, steps=steps, guidance=2.0, output_type="latent", progress=False).images

    reached = draw(teacher, 25)
    teacher.scheduler = student.scheduler
    before, after = (float((draw(pipeline, 1) - reached).square().mean()) for pipeline in (teacher, student))
    assert after < 0.9 * before, (after, before)


def test_one_step_of_the_student_comes_nearer_to_what_the_teacher_reaches_in_many(straight, tiny_pipeline):
    student = CXRPipeline.from_pretrained(straight / "export")
    check_one_step(student, tiny_pipeline)


def test_every_step_is_logged_and_the_validation_is_drawn(straight):
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "consistency" in line] == list(range(1, 25))
    assert (straight / "samples" / "step-0000024" / "samples.png").is_file()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_export_is_a_pipeline_that_draws_in_few_steps(straight, steps):
    pipeline = CXRPipeline.from_pretrained(straight / "export")
    assert type(pipeline.scheduler).__name__ == "LCMScheduler"
    assert (pipeline.config.steps, pipeline.config.guidance, pipeline.config.name) == (4, 2.0, "cxr-gen-lcm")
    calls = []
    pipeline.unet.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    together = pipeline(["PA chest radiograph.", "AP view."], steps=steps, output_type="np", progress=False)
    assert calls == [2] * steps and together.images.shape == (2, 32, 32)
    alone = pipeline("AP view.", seed=1, steps=steps, output_type="np", progress=False)
    assert abs(alone.images[0] - together.images[1]).max() < 1e-5
    assert together.records[0].scheduler == "LCMScheduler"


def test_a_resumed_run_ends_with_the_same_bits(recipe, straight, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    shutil.rmtree(run / "state" / "step-24")
    shutil.rmtree(run / "export")
    main(recipe, f"run={run}")
    first, second = unet_weights(straight / "export"), unet_weights(run / "export")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_student_starts_as_its_teacher(tiny_pipeline):
    teacher = Denoiser(tiny_pipeline.unet)
    student = student_of(teacher, 8)
    z, t, condition = torch.randn(2, 4, 8, 8), torch.tensor([10, 900]), tiny_pipeline.task({"prompt": ["", "PA view."]})
    with torch.no_grad():
        assert torch.equal(teacher(z, t, condition), student(z, t, condition, torch.tensor([1.0, 3.0])))


def test_the_target_is_an_average_of_the_student(recipe, tmp_path):
    job = Job.model_validate({**yaml.safe_load(recipe.read_text()), "run": tmp_path})
    learner = DistillationLearner(job)
    student, target = (
        module.backbone.conv_out.weight for module in (learner.trained["denoiser"], learner.target.module)
    )
    before = target.clone()
    with torch.no_grad():
        student.add_(1.0)
    learner.stepped()  # the decay warms up: 1/10 at first, 2/11 next, then 1/4, 4/13, 5/14 ... up to 1/2
    torch.testing.assert_close(target, before + 0.9)
    learner.stepped()
    torch.testing.assert_close(target, before + 1 - 0.1 * 2 / 11)
    assert not target.requires_grad


def test_adapters_leave_the_teacher_and_are_merged_at_export(recipe, tiny_pipeline_dir, tmp_path):
    pytest.importorskip("peft")
    run = tmp_path / "run"
    main(recipe, f"run={run}", "lora_rank=2", "train.steps=2", "train.checkpoint_every=2")
    weights, teacher = unet_weights(run / "export"), unet_weights(tiny_pipeline_dir)
    assert set(weights) - set(teacher) == {"time_embedding.cond_proj.weight"}
    changed = {name for name in teacher if not torch.equal(weights[name], teacher[name])}
    assert changed and all(name.removesuffix(".weight").endswith(ADAPTED) for name in changed)
    CXRPipeline.from_pretrained(run / "export")("PA view.", progress=False)


def test_a_guide_changes_what_is_learned_and_must_be_of_the_teachers_kind(recipe, tiny_pipeline_dir, tmp_path, capsys):
    guide = CXRPipeline.from_pretrained(tiny_pipeline_dir)
    with torch.no_grad():
        guide.unet.conv_out.weight.mul_(0.5)
    guide.save_pretrained(tmp_path / "guide")
    few = ["train.steps=2", "train.checkpoint_every=2"]
    main(recipe, f"run={tmp_path}/plain", *few)
    main(recipe, f"run={tmp_path}/guided", *few, f"guide={tmp_path}/guide", "consistency.guide_scale=2.0")
    plain, guided = (unet_weights(tmp_path / run / "export") for run in ("plain", "guided"))
    assert any(not torch.equal(plain[name], guided[name]) for name in plain)
    guide.vae.latent_shift.add_(1.0)
    guide.save_pretrained(tmp_path / "other")
    with pytest.raises(SystemExit) as end:
        main(recipe, f"run={tmp_path}/run", f"guide={tmp_path}/other", "consistency.guide_scale=2.0")
    assert end.value.code == 2 and "its latents differ from the model's" in capsys.readouterr().err


def test_a_teacher_may_be_guided_by_its_weaker_self(recipe, tmp_path):
    few = ["train.steps=2", "train.checkpoint_every=2", "consistency.guide_scale=2.0"]
    for share in (0.5, 0.9):
        main(recipe, f"run={tmp_path}/{share}", *few, f"weakened={share}")
    one, other = (unet_weights(tmp_path / str(share) / "export") for share in (0.5, 0.9))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_student_goes_on_from_an_earlier_one(recipe, straight, tiny_pipeline_dir, tmp_path, capsys):
    still = ["train.steps=1", "train.learning_rate=1e-12", f"initialise_from={straight}/export"]
    main(recipe, f"run={tmp_path}/on", *still)
    before, after = unet_weights(straight / "export"), unet_weights(tmp_path / "on" / "export")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    with pytest.raises(SystemExit):
        main(recipe, f"run={tmp_path}/no", f"initialise_from={tiny_pipeline_dir}")
    assert "no student of this teacher's shape" in capsys.readouterr().err


def test_what_distilling_changed_is_added_to_another_teacher(recipe, straight, tiny_pipeline_dir, tmp_path, capsys):
    other = CXRPipeline.from_pretrained(tiny_pipeline_dir)
    wide = torch.nn.Conv2d(2 * other.unet.conv_in.in_channels, other.unet.conv_in.out_channels, 3, padding=1)
    with torch.no_grad():
        other.unet.conv_out.weight.mul_(0.5)
    student, old = (student_of(Denoiser(other.unet), 8) for _ in range(2))
    add_change(straight / "export", tiny_pipeline_dir, student)
    before, after = unet_weights(tiny_pipeline_dir), unet_weights(straight / "export")
    given, had = student.backbone.state_dict(), old.backbone.state_dict()
    for name, weight in given.items():
        wanted = had[name] + after[name] - before[name] if name in before else after[name]
        torch.testing.assert_close(weight, wanted)
    student.backbone.conv_in, kept = wide, wide.weight.detach().clone()
    add_change(straight / "export", tiny_pipeline_dir, student)
    channels = after["conv_in.weight"].shape[1]
    torch.testing.assert_close(
        wide.weight[:, :channels] - kept[:, :channels], after["conv_in.weight"] - before["conv_in.weight"]
    )
    assert torch.equal(wide.weight[:, channels:], kept[:, channels:])
    with pytest.raises(UserError, match="no student of this kind and its teacher"):
        add_change(tiny_pipeline_dir, straight / "export", student)
    with pytest.raises(SystemExit):
        main(recipe, f"run={tmp_path}/no", f"initialise_over={tiny_pipeline_dir}")
    assert "goes with initialise_from" in capsys.readouterr().err


@pytest.fixture(scope="module")
def jumps(recipe, tmp_path_factory):
    """A run whose student learns mean velocities."""
    run = tmp_path_factory.mktemp("jumps") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    main(recipe, f"run={run}", "consistency.objective=mean_velocity")
    torch.set_num_threads(threads)
    return run


def test_mean_velocities_are_learned_by_the_same_job(jumps, tiny_pipeline):
    lines = [json.loads(line) for line in (jumps / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "mean_velocity" in line] == list(range(1, 25))
    student = CXRPipeline.from_pretrained(jumps / "export")
    check_one_step(student, tiny_pipeline)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_student_of_mean_velocities_comes_back_from_its_folder_and_draws_in_any_steps(jumps, tmp_path, steps):
    first = CXRPipeline.from_pretrained(jumps / "export")
    first.save_pretrained(tmp_path / "again")
    again, told = CXRPipeline.from_pretrained(tmp_path / "again"), []

    def seen(module, inputs, keywords):
        told.append([int(inputs[1]), int(keywords["added_cond_kwargs"]["time_ids"][0])])

    again.unet.register_forward_pre_hook(seen, with_kwargs=True)
    drawn = [p("AP view.", seed=3, steps=steps, output_type="np", progress=False).images for p in (first, again)]
    assert (drawn[0] == drawn[1]).all() and drawn[0].std() > 0
    times = [t for t, _ in told]
    assert len(told) == steps and [left for _, left in told] == [
        t - end - 1 for t, end in zip(times, [*times[1:], -1], strict=True)
    ]


def test_more_steps_than_its_grid_are_refused(jumps):
    with pytest.raises(UserError, match="steps=5: SegmentScheduler refuses .at most 4, the times at which"):
        CXRPipeline.from_pretrained(jumps / "export")("AP view.", steps=5, progress=False)


def test_a_resumed_run_of_mean_velocities_ends_with_the_same_bits(recipe, jumps, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(jumps, run)
    shutil.rmtree(run / "state" / "step-24")
    shutil.rmtree(run / "export")
    main(recipe, f"run={run}", "consistency.objective=mean_velocity")
    first, second = unet_weights(jumps / "export"), unet_weights(run / "export")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_samplers_that_combine_outputs_are_given_the_present_velocity(jumps):
    pipeline, told = CXRPipeline.from_pretrained(jumps / "export"), []
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.unet.register_forward_pre_hook(
        lambda module, inputs, keywords: told.append(int(keywords["added_cond_kwargs"]["time_ids"][0])),
        with_kwargs=True,
    )
    pipeline("AP view.", steps=4, progress=False)
    assert told == [0] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["consistency.guide_scale=1.0"], "set both or neither"),
        (["weakened=0.5"], "set both or neither"),
        (["consistency.objective=self_guided", "consistency.guide_scale=1.0", "guide=any"], "weakened: "),
        (["weakened=0.5", "guide=any", "consistency.guide_scale=1.0"], "leave guide or weakened out"),
        (["data.resolution=64"], "data.resolution=64: the teacher draws 32 px"),
        (["consistency.grid=7"], "consistency.grid=7: must divide the teacher's 1000 time steps"),
        (["consistency.segments=3"], "must divide grid=4"),
        (["consistency.objective=mean_velocity", "consistency.segments=2"], "a mean velocity reaches any time"),
        (["teacher=nowhere/else"], "nowhere/else"),
    ],
)
def test_what_cannot_be_distilled_is_refused(recipe, tmp_path, capsys, arguments, said):
    with pytest.raises(SystemExit) as end:
        main(recipe, f"run={tmp_path}/run", *arguments)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and error.startswith("error: ") and said in error


def test_a_student_learns_to_guide_itself(recipe, jumps, tmp_path, capsys):
    run = tmp_path / "run"
    own = ["consistency.objective=self_guided", "consistency.guide_scale=1.0", "weakened=0.5"]
    main(recipe, f"run={run}", f"teacher={jumps}/export", *own, "train.steps=2", "train.checkpoint_every=2")
    before, after = unet_weights(jumps / "export"), unet_weights(run / "export")
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
    CXRPipeline.from_pretrained(run / "export")("PA view.", steps=2, progress=False)
    with pytest.raises(SystemExit) as end:
        main(recipe, f"run={tmp_path}/other", *own)
    assert end.value.code == 2 and "no student of mean velocities" in capsys.readouterr().err


def test_a_student_is_no_teacher(recipe, straight, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(recipe, f"run={tmp_path}/run", f"teacher={straight}/export")
    assert end.value.code == 2 and "distilled student itself" in capsys.readouterr().err

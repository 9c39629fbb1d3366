"""Every recipe is read, and everything it names exists, so that none can rot; and the papers' figures stand in them."""

import shlex
import typing

import pytest

from avr.core import UsageError
from avr.datasets import shapes
from avr.extract.settings import Settings
from avr.fusion import make_fuser
from avr.heads import head_class, option_types, read_options, read_training
from avr.recipes import load_recipe, recipe_names
from avr.recipes.planning import VIDEOS, Pace, plan_recipe, view_shapes

PACE = Pace({"tvl1": 0.1, "dis": 0.01}, 100.0)


def test_every_comparing_table_of_the_five_papers_is_there():
    expected = [f"stfn-table{n}" for n in range(1, 7)] + [f"stilt-table{n}" for n in (4, 5, 6)]
    expected += [f"glka-table{n}" for n in range(1, 6)] + [f"{head}-table{n}" for n in (1, 2) for head in OU_AND_SUN]
    assert set(recipe_names()) == set(expected)


OU_AND_SUN = ("frame-attention", "temporal-pyramid")


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_recipe_names_exists(name):
    recipe = load_recipe(name)
    for spec in recipe.stores.values():
        settings = Settings(**spec.settings)  # refuses unknown names and values
        assert settings.num_steps == spec.steps
        assert settings.views == spec["views"]
        assert settings.layers_of(spec["streams"][0]) == spec.layers_of(spec["streams"][0])
        assert view_shapes(spec)
    for row in recipe.rows:
        made = head_class(row.head)
        read_options(row.head, row.options)
        read_training(made.paper, row.training)
        if row.fuse:
            make_fuser(row.fuse, **row.fuse_options)
        streams = recipe.stores[row.store]["streams"]
        assert not row.output or row.output in (*streams, "fused")
    for by_head in recipe.training.values():
        for head, changes in by_head.items():
            read_training(head_class(head).paper, changes)


@pytest.mark.parametrize("name", recipe_names())
def test_heads_can_be_built_on_what_a_recipe_extracts(name):
    """Each row's head, with its options, on the shapes of its store, without memory for its weights."""
    import torch

    recipe = load_recipe(name)
    for row in recipe.rows:
        spec, made = recipe.stores[row.store], head_class(row.head)
        shapes = view_shapes(spec)
        read = {s: shapes[f"{s}/{made.reads.get(s) or made.reads['*']}"] for s in spec["streams"]}
        if hasattr(made, "paper_shapes") and "table6" not in name:
            assert read == made.paper_shapes
        with torch.device("meta"):
            groups = [read] if made.joint else [{stream: shape} for stream, shape in read.items()]
            for group in groups:
                made(group, 101, **row.options)


@pytest.mark.parametrize(
    ("name", "row", "figures"),
    [
        ("stfn-table1", "Fig. 4c", {"hmdb51": 69.2, "ucf101": 92.0}),
        ("stfn-table2", "Multiplication", {"hmdb51": 68.3, "ucf101": 92.6}),
        ("stfn-table3", "A<-M", {"hmdb51": 70.3, "ucf101": 93.4}),
        ("stfn-table4", "7 segments", {"hmdb51": 70.8, "ucf101": 93.9}),
        ("stfn-table5", "Inception-V3, late fusion", {"hmdb51": 62.7, "ucf101": 92.3}),
        ("stfn-table6", "STFN (Inception-V3) + M", {"hmdb51": 75.1, "ucf101": 96.0}),
        ("stilt-table4", "Two-stream + STIL", {"ucf101": 94.1, "hmdb51": 68.9, "kinetics": 68.8}),
        ("stilt-table5", "Two-stream + STIL + Late Ave", {"ucf101": 94.1, "hmdb51": 68.9, "kinetics": 68.0}),
        ("stilt-table6", "STILT (VGG-19)", {"ucf101": 89.9, "hmdb51": 66.3, "kinetics": 64.8}),
        ("glka-table1", "Learning-based Attention", {"hmdb51": 52.48, "ucf101": 82.91}),
        ("glka-table2", "GS (feature multiply)", {"hmdb51": 50.52, "ucf101": 80.67}),
        ("glka-table3", "GL (score fusion)", {"hmdb51": 55.23, "ucf101": 83.79}),
        ("glka-table4", "GS (concatenation) with GA regularisation", {"hmdb51": 54.44, "ucf101": 83.52}),
        ("glka-table5", "Early fusion model (GS + GL + GP)", {"hmdb51": 56.21, "ucf101": 84.71}),
        ("frame-attention-table1", "Ours (VGG-16-3Dconv-2LSTM)", {"ucf101": 95.3}),
        ("frame-attention-table2", "Ours (VGG-16-3Dconv-2LSTM)", {"ucf11": 100.0, "ucf-sports": 100.0}),
        ("temporal-pyramid-table2", "3D conv-TPN-Bi_Directional_LSTM", {"ucf11": 97.7}),
    ],
)
def test_figures_are_the_papers(name, row, figures):
    (found,) = [r for r in load_recipe(name).rows if r.name == row]
    assert found.figures == figures


@pytest.mark.parametrize(
    ("name", "head", "option"),
    [
        ("stfn-table1", "stfn", "design"),
        ("stfn-table2", "stfn", "fusion"),
        ("stfn-table3", "stfn", "direction"),
        ("glka-table2", "attention-streams", "composite"),
        ("glka-table3", "attention-streams", "composite"),
        ("glka-table5", "attention-streams", "fusion"),
    ],
)
def test_rows_cover_every_choice_of_the_option_they_vary(name, head, option):
    """A head that gains a choice must gain a row."""
    hint, _ = option_types(head)[option]
    rows = load_recipe(name).rows
    assert {row.options[option] for row in rows if option in row.options} == set(typing.get_args(hint))


def test_plan_says_the_command_and_the_cost():
    (extraction,) = plan_recipe(load_recipe("temporal-pyramid-table2"), pace=PACE)
    assert extraction.command == (
        "avr extract --dataset ucf11 --backbone vgg16 --stream rgb,flow --layers rgb=conv5_3,flow=conv4_2 "
        "--plan strided --segments 24 --stack 4 --out features/ucf11-vgg16-rgb-conv53-flow-conv42-strided24"
    )
    assert extraction.shapes == {"rgb/conv5_3": (24, 512, 14, 14), "flow/conv4_2": (24, 512, 28, 28)}
    # 24·512·(14² + 28²) values of 2 bytes, 1 600 videos
    assert extraction.gigabytes == pytest.approx(38.535168)
    # 24 steps of 4 pairs at 10 ms, and 48 passes of 31 GFLOP at 100 GFLOP/s, 1 600 times
    assert extraction.hours == pytest.approx(1600 * (24 * 4 * 0.01 + 48 * 31 / 100) / 3600)


@pytest.mark.parametrize("name", recipe_names())
def test_planned_commands_are_commands_that_avr_takes(name):
    from avr.cli.extract import command

    for extraction in plan_recipe(load_recipe(name), pace=PACE):
        words = shlex.split(extraction.command)
        assert words[:2] == ["avr", "extract"]
        command.make_context("extract", words[2:])  # parses; refuses unknown options and choices


def test_plan_takes_any_data_set_and_asks_for_its_size():
    plans = plan_recipe(load_recipe("stfn-table4"), pace=PACE, dataset="mine", videos=10)
    assert [plan.shapes["rgb/pooled"] for plan in plans] == [(n, 2048) for n in (3, 5, 7, 9)]
    assert len({plan.command for plan in plans}) == 4
    with pytest.raises(UsageError, match="number of videos in mine is not known here: give it with --videos"):
        plan_recipe(load_recipe("stfn-table4"), pace=PACE, dataset="mine")


def test_the_number_of_drawn_clips_is_the_data_sets():
    assert VIDEOS["shapes"] == len(shapes.CLASS_NAMES) * shapes.NUM_SCENES


VALID = """
title = "t"
paper = "p"
metric = "m"
split = "first"
[stores.main]
backbone = "resnet50"
streams = ["rgb"]
layers = ["pooled"]
[[rows]]
name = "one"
head = "linear"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "t"', "", "lacks 'title'"),
        ('title = "t"', 'title = "t"\ncolour = 1', "unknown entry 'colour'; known: metric, notes"),
        ('split = "first"', 'split = "second"', "split is"),
        ('backbone = "resnet50"', 'backbone = "resnet50"\nframes = 3', "stores.main: unknown entry 'frames'"),
        ('layers = ["pooled"]', 'layers = ["flow=map"]', "stores.main: no layer for stream rgb"),
        ('head = "linear"', 'head = "linear"\nstore = "other"', "row one: no section stores.other"),
        ('head = "linear"', 'head = "linear"\noutput = "rgb"\nfuse = "average"', "exclude one another"),
        ("[[rows]]", '[[rows]]\nname = "one"\nhead = "linear"\n[[rows]]', "two rows of one name"),
        ('title = "t"', "title", "no TOML"),
    ],
)
def test_a_file_with_a_fault_is_refused_with_the_place(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(VALID)
    assert load_recipe(str(path)).name == "mine"
    path.write_text(VALID.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        load_recipe(str(path))


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match="unknown recipe 'stfn'; known: frame-attention-table1, "):
        load_recipe("stfn")

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.distill import DistillOptions
from llmhash.heads.registry import HEADS, fit_head
from llmhash.recipes import EncoderSettings, WordSettings, load_recipe, recipe_names, recipe_path


def test_every_head_that_is_a_method_has_a_recipe() -> None:
    # Networks are no method: recipes that name their objectives are.
    assert set(HEADS) - {"network", "tokens"} <= set(recipe_names())


@pytest.mark.parametrize("name", [name for name in recipe_names() if not load_recipe(name).needs])
def test_a_shipped_recipe_fits_vectors_unless_it_needs_more(name: str, encoder, sentences) -> None:
    recipe = load_recipe(name, bits=8, options={"steps": 3} if name == "distill" else None)
    features = TrainingFeatures(encoder.encode(sentences, "document"))
    head = fit_head(recipe.head, features, recipe.bits, seed=recipe.seed, options=recipe.options)
    assert (head.bits, head.dim) == (8, encoder.dim)


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        ("head: itq", set()),
        ("head: distill\nobjectives: {balance: 0.1}", set()),
        ("head: itq\nencoder: {name: tfidf, components: 8}", set()),
        ("head: sth\nencoder: {name: tfidf}", {"words"}),
        ("head: network\nobjectives: {embeddings: }", set()),
        ("head: network\nobjectives: {words: 0.5, pairwise: {target: labels}}", {"words", "labels"}),
        ("head: network\nobjectives: {ranking_hinge: {weight: 2.0}}", {"pairs"}),
        ("head: tokens\nencoder: {tokens: true}\nobjectives: {infomax: }", {"tokens"}),
    ],
)
def test_a_recipe_says_what_it_needs_beside_vectors(tmp_path, content: str, needs: set[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    assert load_recipe(str(path)).needs == needs


def test_settings_are_replaced() -> None:
    recipe = load_recipe("itq", bits=32, seed=7, pseudo_queries=5, options={"iterations": 3})
    assert (recipe.bits, recipe.seed, recipe.pseudo_queries) == (32, 7, 5)
    assert recipe.options == {"iterations": 3}


@pytest.mark.parametrize("words", [None, WordSettings("survey", "tfidf", 50)])
def test_a_recipe_survives_its_own_yaml(tmp_path, words) -> None:
    recipe = replace(load_recipe("distill", bits=48), words=words)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    assert load_recipe(str(path)) == recipe


def test_the_encoder_section_names_the_kind_of_encoder(sentences, make_model, transformer, tmp_path) -> None:
    recipe = load_recipe("itq")
    words = replace(recipe, encoder=EncoderSettings("tfidf", preset="plain", components=6, max_features=20))
    opened = words.open_encoder(texts=sentences)
    assert (opened.dim, len(opened.vocabulary)) == (6, 20)
    model = str(make_model(tmp_path / "model", transformer))
    tokens = replace(recipe, encoder=EncoderSettings(model, tokens=True, device="cpu", max_length=9))
    assert type(tokens.open_encoder()).__name__ == "TokenEncoder"
    assert type(recipe.open_encoder(model)).__name__ == "SentenceEncoder"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("head: itq\nbist: 64\n", "unknown setting 'bist'; did you mean bits"),
        ("head: itq\nencoder: {nam: minilm}\n", "section `encoder`: unknown setting 'nam'"),
        (
            "head: itq\nwords: {prest: wish}\n",
            "section `words`: unknown setting 'prest'; did you mean preset",
        ),
        ("head: itq\nwords: wish\n", "section `words` must be a mapping"),
        ("bits: 64\n", "names no `head`"),
        ("- itq\n", "a YAML mapping is expected"),
        ("head: [itq\n", "not valid YAML"),
        ("head: itq\ntraining: 5\n", "section `training` must be a mapping"),
        ("head: distill\nobjectives: {a: 1}\ntraining: {a: 2}\n", "a stands under both"),
        ("head: itq\nbits: many\n", "bits must be a whole number"),
        ("head: itq\nseed: -1\n", "seed must be a whole number from 0"),
        ("head: itq\nnoise: 1.5\n", "noise must be a number from 0 to 1, not 1.5"),
        ("head: itq\nnoise: some\n", "noise must be a number from 0 to 1, not 'some'"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path))


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown recipe 'itk'; did you mean itq"):
        recipe_path("itk")
    with pytest.raises(InputError, match="does not exist"):
        recipe_path("none.yaml")


def test_yaml_cannot_run_code(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("head: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_recipe(str(path))


def test_the_recipe_of_distillation_says_what_the_head_s_defaults_are() -> None:
    """A setting that the head takes by the corpus is not to be fixed by its recipe."""
    recipe, defaults = load_recipe("distill"), DistillOptions()
    said = {**recipe.objectives, **recipe.training}
    assert said == {name: getattr(defaults, name) for name in said}

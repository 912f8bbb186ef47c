"""``site.toml`` and what it opens: one clear error a wrong field, and the very shard that a split deals."""

import re
from pathlib import Path

import numpy as np
import pytest

from fedgenome.cohort import expression
from fedgenome.cohort.annotations import Effect
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.genotype_file import Person, write_genotypes
from fedgenome.cohort.genotypes import Block, Variant
from fedgenome.cohort.sequence_file import write_sequences
from fedgenome.cohort.split import SplitSpec, split
from fedgenome.cohort.values import scores
from fedgenome.cohort.windows import Record, WindowSpec
from fedgenome.deployment import roles
from fedgenome.deployment.hospital import site
from fedgenome.errors import Refused, SpecError
from fedgenome.privacy import accounts
from fedgenome.study import Schema
from tests.deployment_roles.hospitals import KEY, SCHEMA, agreed, rules, write_cohort, write_config
from tests.federation.small import make_shard


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "North!"}, r"name: .*pattern"),
        ({"name": None}, r"name: Field required"),
        ({"colour": "red"}, r"colour: unknown key"),
        ({"publik": True}, r"publik: unknown key; did you mean 'public'\?"),
        ({"schedule_seconds": 0}, r"schedule_seconds: .*greater than 0"),
        ({"seed": 7}, r"seed: expected none, or public = true"),
        ({"state": "nowhere"}, r"state: expected the folder \S+nowhere; there is none"),
        ({"socket": "nowhere/agent.sock"}, r"socket: expected the folder \S+nowhere; there is none"),
        ({"socket": "s" * 120}, r"socket: expected a path of at most 107 bytes"),
        ({"table": rules(signers=[])}, r"policy\.signers: "),
        ({"table": rules(signers=["ab"])}, r"policy\.signers\.0: .*pattern"),
        ({"table": rules(parties=["ab" * 32])}, r"policy\.parties: "),
        ({"table": rules(colluders=0)}, r"policy\.colluders: .*greater than or equal to 1, got 0"),
        ({"table": rules(quorum=None)}, r"policy\.quorum: Field required"),
        ({"table": rules(trust=["all"])}, r"policy\.trust\.0: .*'none', got 'all'"),
        ({"table": rules(trust=["none"])}, r"policy\.trust: expected 'none' only with public = true"),
        ({"table": rules(budget_epsilon=None)}, r"policy\.budget_epsilon: expected a number, unless public"),
    ],
)
def test_wrong_field_is_one_line_that_names_file_and_field(tmp_path, changes, error):
    path = write_config(tmp_path, **changes)
    with pytest.raises(SpecError, match=f"^{re.escape(str(path))}: {error}") as found:
        site.SiteConfig.load(path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("text", "error"), [(None, "No such file"), ("name = ", "expected TOML")])
def test_file_that_is_none_is_named(tmp_path, text, error):
    path = tmp_path / "site.toml"
    if text:
        path.write_text(text)
    with pytest.raises(SpecError, match=rf"site\.toml: .*{error}"):
        site.SiteConfig.load(path)


def test_paths_are_read_from_the_files_own_folder(settled, tmp_path):
    config = settled()
    assert config.state == tmp_path / "state" and config.cohort.source == str(tmp_path / "cohort.h5ad")
    data = {"source": "pbmc68k", "label": "kind", "scale": "log"}
    assert site.SiteConfig._rooted({"cohort": data}, tmp_path) == {"cohort": data}


@pytest.mark.parametrize("donor", ["patient", None])
def test_agent_reads_the_very_shard_that_a_split_deals(settled, tmp_path, donor):
    config = settled(make_shard(30))
    config = config.model_copy(update={"cohort": config.cohort.model_copy(update={"donor": donor})})
    schema = Schema.model_validate(SCHEMA | {"unit": "donor" if donor else "row"})
    given = {"label": "kind", "labels": schema.labels, "panel": schema.genes, "scale": "log", "high": 4.0}
    whole = expression.read(CohortSpec(source=config.cohort.source, donor=donor, **given))
    dealt = split(whole, SplitSpec(sites=1, controls=0.0), np.random.default_rng(0)).sites["site-1"]
    found = site.shard_of(config, schema)
    for name in ("x", "label", "donor", "mask"):
        assert getattr(found, name).tobytes() == getattr(dealt, name).tobytes()
    assert found.donors == dealt.donors and found.x.dtype == dealt.x.dtype


def test_hospital_without_a_gene_of_the_study_holds_its_fill_there(settled):
    config = settled(make_shard(12))
    asked = SCHEMA | {"genes": ["C", "D", "A"], "fill": 1.5}
    found = site.shard_of(config, Schema.model_validate(asked | {"lacking": 0.34}))
    assert found.x[:, 1].tolist() == [1.5] * len(found.label)
    assert np.array_equal(found.x[:, [0, 2]], site.shard_of(config, Schema.model_validate(SCHEMA)).x[:, [2, 0]])
    with pytest.raises(SpecError, match="expected at most 10% of the study's 3 genes to be missing, got 1: 'D'"):
        site.shard_of(config, Schema.model_validate(asked))


def test_hospital_reads_by_the_studys_rules_and_its_own_rows_only(settled):
    config = settled(make_shard(12))
    cohort = config.cohort.model_copy(update={"site": "patient", "only": (make_shard(12).donors[0],)})
    schema = Schema.model_validate(SCHEMA | {"batch": "ranks", "rows_per_donor": 1})
    every, own = (site.shard_of(one, schema) for one in (config, config.model_copy(update={"cohort": cohort})))
    plain = site.shard_of(config, schema.model_copy(update={"batch": "none"}))
    assert own.donors == cohort.only and len(own.label) == 1
    assert len(every.label) == every.n_donors == 12
    assert np.allclose(every.x, scores(plain.x, 0.0, 4.0))


def test_hospital_reads_sequences_where_the_study_is_of_them_and_only_there(settled):
    config = settled()
    people = [Record(name=f"s{i}", donor=f"s{i}", text="ACGTNACG", label="x") for i in range(3)]
    write_sequences(Path(config.cohort.source), lambda: iter(people), WindowSpec(length=2, most_unknown=0.5))
    cohort = {"source": config.cohort.source, "label": "label", "donor": "donor", "scale": "codes"}
    config = config.model_copy(update={"cohort": site.Data(**cohort)})
    coded = Schema(genes=("p0001", "p0002"), labels=("x",), unit="donor", tokens={})
    assert np.unique(site.shard_of(config, coded).x).tolist() == [0, 1, 2, 3, 4]
    of_expression = r"cohort\.scale: expected 'log' or 'counts', as the study is of expression, got 'codes'"
    with pytest.raises(SpecError, match=of_expression):
        site.shard_of(config, Schema.model_validate(SCHEMA))


def test_hospital_reads_genotypes_where_the_study_is_of_them_and_only_there(settled):
    config = settled()
    variants = [Variant("1", at, "", "A", "G", Effect()) for at in (5, 9)]
    block = Block(variants=tuple(variants), dosage=np.array([[0, 1, 2], [2, -1, 0]], np.int8), haplotypes=())
    who = [Person(sample=f"s{i}", donor=f"s{i}", label="x", kept=()) for i in range(3)]
    write_genotypes(Path(config.cohort.source), [block], who)
    cohort = {"source": config.cohort.source, "label": "label", "donor": "donor", "scale": "dosage"}
    config = config.model_copy(update={"cohort": site.Data(**cohort)})
    study = Schema(genes=("1:9:A:G", "1:5:A:G"), labels=("x",), unit="donor", high=2, fill=0, dosages=True)
    assert site.shard_of(config, study).x.tolist() == [[2, 0], [0, 1], [0, 2]]
    with pytest.raises(SpecError, match=r"cohort\.scale: expected 'log' or 'counts', as the study is of expression"):
        site.shard_of(config, study.model_copy(update={"dosages": False}))


def test_annotation_of_a_table_is_found_from_the_files_own_folder(tmp_path):
    told = {"source": "x.tsv", "annotation": "labels.csv", "label": "kind", "scale": "log"}
    rooted = site.SiteConfig._rooted({"cohort": told}, tmp_path)["cohort"]
    assert (rooted["source"], rooted["annotation"]) == (str(tmp_path / "x.tsv"), str(tmp_path / "labels.csv"))


def test_shard_of_the_file_is_the_shard_that_was_written(settled):
    shard = make_shard(9)  # of one digit, so that their names sort as their numbers do
    found = site.shard_of(settled(shard), Schema.model_validate(SCHEMA))
    assert found.donors == shard.donors
    assert found.x.tobytes() == shard.x.tobytes() and found.label.tobytes() == shard.label.tobytes()


def test_data_that_do_not_fit_are_refused_without_a_word_of_them(settled):
    config = settled()
    study = site_study(genes=["A", "B", "C", "D"])
    with site.opened(config, lambda *_: None) as opened, pytest.raises(Refused) as found:
        opened.load(study)
    assert found.value.code == "cohort" and "'D'" not in str(found.value)


def test_data_are_read_once_for_a_study_and_again_for_another(settled, tmp_path):
    config = settled()
    with site.opened(config, lambda *_: None) as opened:
        first = opened.load(site_study())
        write_cohort(tmp_path / "cohort.h5ad", make_shard(5))
        assert opened.load(site_study(name="other")) is first
        assert opened.load(site_study(genes=["A", "B"])).n_donors == 5


def site_study(genes=("A", "B", "C"), **changes):
    return agreed(schema=SCHEMA | {"genes": list(genes)}, **changes)


def test_donors_of_another_account_of_this_site_are_refused(settled):
    config = settled()
    with site.opened(config, lambda *_: None) as first:
        first.load(agreed())
        kept = (config.state / accounts.ACCOUNT).read_text()
        assert f'"account":"{kept}"' in (config.state / site.LEDGER).read_text()
    for name in (accounts.ACCOUNT, site.LEDGER):
        (config.state / name).unlink()
    with site.opened(config, lambda *_: None) as second, pytest.raises(Refused, match=r"^account: a donor is"):
        second.load(agreed())


@pytest.mark.parametrize("text", [None, "", "ab" * 31, "AB" * 32, "xy" * 32])
def test_socket_key_that_is_none_is_refused(settled, text):
    config = settled()
    assert roles.socket_key(config) == KEY
    path = config.state / roles.SOCKET_KEY
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(SpecError, match=r"socket\.key: expected .*; make the folder with: .*keys request"):
        roles.socket_key(config)


def test_second_agent_on_a_folder_is_refused(settled):
    config = settled()
    with site.opened(config, lambda *_: None), pytest.raises(Refused, match="ledger-busy"):
        site.opened(config, lambda *_: None).__enter__()

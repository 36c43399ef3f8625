"""The dashboard of Weights & Biases, to the object that is sent; the server is a stand-in."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from sweeps import write_grid_sweep

from saddle.errors import InputError

pytest.importorskip("wandb_workspaces")
from saddle.report import panels
from saddle.report.dashboard import build_dashboard, content_of, objects

ROOT = Path(__file__).parent.parent.parent
NAMES = ["Training", "Evaluation", "Samples", "Sensitivity", "Health"]


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def config(**options: Any) -> DictConfig:
    return OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "dashboard.yaml"), options)


def made(**options: Any) -> dict[str, Any]:
    return objects(content_of(config(**options)))


def panels_of_workspace(found: dict[str, Any]) -> dict[str, list[Any]]:
    listed = found["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in listed}


def panels_of_report(found: dict[str, Any]) -> dict[str, list[Any]]:
    blocks = found["report"]["spec"]["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    return {name: grid["panelBankSectionConfig"]["panels"] for name, grid in zip(headings, grids, strict=True)}


def kinds(panels: list[Any]) -> list[str]:
    return [panel["viewType"] for panel in panels]


def test_both_have_the_same_sections_of_the_same_panels() -> None:
    found = made()
    first, second = panels_of_workspace(found), panels_of_report(found)
    assert [*first] == [*second] == NAMES
    for name in NAMES:
        assert [panel["config"] for panel in first[name]] == [panel["config"] for panel in second[name]] != []
    ids = [panel["__id__"] for part in (first, second) for panels in part.values() for panel in panels]
    assert len(set(ids)) == len(ids)


def test_the_panels_of_a_report_do_not_overlap() -> None:
    for part in panels_of_report(made()).values():
        fields = [
            (x, y)
            for at in (panel["layout"] for panel in part)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(fields) == len(set(fields)) and max(x for x, _ in fields) < 24


def test_what_is_plotted_is_what_runs_log() -> None:
    """The names are those that tests/test_wandb.py finds in the files of a run."""
    found = panels_of_workspace(made())
    lines = [p["config"] for part in found.values() for p in part if p["viewType"] == "Run History Line Plot"]
    plotted = {key for config in lines for key in config["metrics"]}
    assert plotted >= {
        "train/d_loss", "train/g_loss", "train/real_logits", "train/fake_logits", "train/d_accuracy_real",
        "train/d_grad_norm", "train/g_grad_norm", "eval/frechet", "health/diversity", "timing/images_per_second",
        "logits/real", "logits/fake",
    }  # fmt: skip
    patterns = [config["metricRegex"] for config in lines if "metricRegex" in config]
    for key in ("train/penalty/lecam", "train/estimate/wasserstein", "eval/fid", "spectrum/generator/layers.0/0"):
        assert sum(bool(re.fullmatch(pattern, key)) for pattern in patterns) == 1
    assert all(config["xAxis"] == "_step" for config in lines)
    media = [key for panel in found["Samples"] for key in panel["config"]["mediaKeys"]]
    assert media == ["samples", "samples/walks"]
    assert all(panel["config"]["gallerySettings"] == {"axis": "step"} for panel in found["Samples"])


def test_the_sensitivity_section_has_an_axis_for_each_setting_of_a_sweep(tmp_path: Path) -> None:
    axes = {"loss": ["hinge", "wasserstein"], "model.g_lr": [1e-4, 1e-3, 1e-2]}
    write_grid_sweep(tmp_path / "mine", axes, lambda v, s: 10 + 1e4 * v["model.g_lr"] + s)
    found = made(sweep=str(tmp_path / "mine"), score="eval/frechet")
    section = panels_of_workspace(found)["Sensitivity"]
    assert kinds(section) == [
        "Parallel Coordinates Plot", "Parameter Importance", "Scatter Plot", "Scatter Plot", "Run Comparer",
    ]  # fmt: skip
    columns = section[0]["config"]["columns"]
    assert [column["accessor"] for column in columns] == [
        "config:choices.value.loss", "config:model.value.g_lr", "summary:eval/frechet"
    ]  # fmt: skip
    assert [column.get("log") for column in columns] == [None, True, None]
    assert section[1]["config"]["targetKey"] == "eval/frechet"
    assert [(panel["config"]["xAxis"], panel["config"].get("xAxisLogScale")) for panel in section[2:4]] == [
        ("config:model.value.g_lr", True), ("config:choices.value.loss", None)
    ]  # fmt: skip
    grouped = [panel["config"] for panel in panels_of_workspace(found)["Evaluation"] if "groupBy" in panel["config"]]
    assert [(c["groupBy"], c["groupAgg"], c["groupArea"]) for c in grouped] == [
        ("model.value.g_lr", "mean", "stddev")
    ]  # fmt: skip


def test_only_the_runs_of_the_sweep_are_shown(tmp_path: Path) -> None:
    write_grid_sweep(tmp_path / "mine", {"loss": ["hinge", "wasserstein"]}, lambda v, s: 10.0 + s)
    for options, group in (({}, None), ({"sweep": str(tmp_path / "mine")}, "mine"), ({"group": "theirs"}, "theirs")):
        found = made(**options)
        runsets = [found["workspace"]["spec"]["section"]["runSets"][0]]
        runsets += [
            block["metadata"]["runSets"][0]
            for block in found["report"]["spec"]["blocks"]
            if block["type"] == "panel-grid"
        ]
        assert len(runsets) == 1 + len(NAMES)
        for runset in runsets:
            filters = runset["filters"]["filters"]
            shown = [(f["key"], f["op"], f["value"]) for f in filters]
            assert shown == ([({"section": "run", "name": "group"}, "=", group)] if group else [])


class Server:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.default_entity = "someone"

    def projects(self, entity: str) -> list[Any]:
        return [SimpleNamespace(name="saddle")]

    def execute(self, api: Any, query: Any, variables: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(variables)
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        view = {"id": "v1", "name": variables["name"], "displayName": variables["displayName"], "project": project}
        times = {"createdAt": "2026-01-01T00:00:00", "updatedAt": "2026-01-01T00:00:00", "description": ""}
        return {"upsertView": {"view": {**view, **times, "type": "runs", "spec": variables["spec"]}}}


def without_ids(value: Any) -> Any:
    """A copy without the names that are drawn at random for every object."""
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items() if k not in ("__id__", "id")}
    return [without_ids(each) for each in value] if isinstance(value, list) else value


def test_it_is_sent_where_somebody_is_logged_in(monkeypatch, tmp_path, capsys) -> None:
    server = Server()
    monkeypatch.setenv("WANDB_API_KEY", 40 * "k")
    monkeypatch.setattr("wandb.Api", lambda *a, **k: server)
    for module in ("workspaces.internal", "reports.v2.interface"):
        monkeypatch.setattr(f"wandb_workspaces.{module}.execute_graphql", server.execute)
    for module in ("workspaces.interface", "reports.v2.interface"):
        monkeypatch.setattr(f"wandb_workspaces.{module}.get_app_url", lambda api: "https://wandb.example.org")
    monkeypatch.setattr("wandb_workspaces.reports.v2.interface._get_api", lambda: server)
    build_dashboard(config(name="Mine", group="g"))
    assert [sent["type"] for sent in server.sent] == ["runs", "project-view"]
    assert {(sent["entityName"], sent["projectName"], sent["displayName"]) for sent in server.sent} == {
        ("someone", "saddle", "Mine")
    }
    expected = made(name="Mine", group="g")
    for sent, name in zip(server.sent, ("report", "workspace"), strict=True):
        assert without_ids(json.loads(sent["spec"])) == without_ids(expected[name]["spec"])
    said = capsys.readouterr().out
    assert "workspace: https://wandb.example.org/someone/saddle" in said and "report: https" in said


def test_w_and_bs_refusal_is_one_line(monkeypatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", 40 * "k")

    def refuse(*args: Any, **options: Any) -> Any:
        raise wandb.errors.CommError("permission denied")

    monkeypatch.setattr("wandb.Api", refuse)
    with pytest.raises(InputError, match="W&B refused the dashboard: permission denied"):
        build_dashboard(config())


def test_without_an_account_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wandb login.*out=FILE.json"):
        build_dashboard(config())
    with pytest.raises(InputError, match="must be a file that ends in .json"):
        build_dashboard(config(out=str(tmp_path)))
    build_dashboard(config(out=str(tmp_path / "a" / "dashboard.json")))
    written = json.loads((tmp_path / "a" / "dashboard.json").read_text())
    assert without_ids(written) == without_ids(made())
    build_dashboard(config(out=str(tmp_path / "a" / "dashboard.json")))
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"results\.json is there"):
        build_dashboard(config(out=str(tmp_path / "results.json")))


def test_without_the_library_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.expr", None)
    with pytest.raises(InputError, match=r"pip install 'saddle-gan\[dashboard\]'"):
        importlib.reload(panels)


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "src" / "dashboard.py")]
    done = subprocess.run([*command, f"out={tmp_path / 'd.json'}", "group=g"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "d.json").read_text())["workspace"]["displayName"] == "GAN dashboard: g"
    wrong = subprocess.run([*command, "projct=x"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "did you mean project?" in wrong.stderr

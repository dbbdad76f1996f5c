"""The page for people, in a real browser on a real server of all pipelines."""

import base64
import contextlib
import csv
import io
import json
import os
import subprocess
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipelines.core import examples
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_pipeline, pipeline_modules
from server.config import Access, Config, DeviceConfig
from server.keys import append_key, new_key
from server.liveness import Policy
from tests import browser as browsers
from tests.conditions import wait_for
from tests.contract.every import defaults
from tests.driver import Stages
from tests.fakes import fake_config, page, png
from tests.harness import Server
from tests.llm_server import LlmServer

pytestmark = pytest.mark.skipif(
    browsers.MISSING is not None, reason=f"there is no {browsers.MISSING} (Debian: chromium, chromium-driver)"
)
Keys = browsers.Keys
EXAMPLES = Path(examples.__file__).parents[1] / "examples"
#: Better than the pipeline's own canary, which may hold nothing to find.
PICTURES = {
    "ocr": "dense_column.png", "table_recognition": "mixed_table.png", "instance_segmentation": "nuclei.png",
}  # fmt: skip
INVOICE = ("INVOICE", "Invoice No: 4711-A", "Seller: Northwind Traders")


def invoice(folder):
    """A PDF of two pages, which a browser does not show in an ``<img>``."""
    font, pages = ImageFont.truetype(ModelStore().font(), 40), []
    for lines in (INVOICE, ("Payment", "Total: 1234.50")):
        sheet = Image.new("RGB", (900, 500), "white")
        for row, line in enumerate(lines):
            ImageDraw.Draw(sheet).text((80, 80 + 110 * row), line, "black", font)
        pages.append(sheet)
    path = folder / "invoice.pdf"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    config = Config(
        pipelines=tuple(map(defaults, pipeline_modules())),
        devices=(DeviceConfig(threads=2, all_threads=2),),
        host="127.0.0.1",
        drain_grace_ms=0,
    )
    with LlmServer() as llm, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATOCR_LLM_BASE_URL", llm.url)
        patch.setenv("CHATOCR_LLM_MODEL", "good")
        with Server(config, tmp_path_factory.mktemp("playground"), Policy()) as running:
            running.wait_ready(120)
            yield running


@pytest.fixture(scope="module")
def files(server, tmp_path_factory):
    """Module to the file that it is tried on."""
    folder = tmp_path_factory.mktemp("files")
    found = {"pp_chatocrv3_doc": invoice(folder)}
    for each in server.config.pipelines:
        if each.name in found:
            continue
        canary = load_pipeline(each.name)(each, Stages()).canary()
        found[each.name] = EXAMPLES / PICTURES.get(each.name, "astronaut.jpg")
        if canary.image is None:
            found[each.name] = folder / f"{each.name}.csv"
            found[each.name].write_bytes(canary.blob)
    return found


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    with contextlib.closing(browsers.Browser(tmp_path_factory.mktemp("profile"))) as running:
        yield running


@pytest.fixture(scope="module")
def opened(chrome, server):
    chrome.open(f"http://127.0.0.1:{server.port}/")
    return chrome


@pytest.fixture
def browser(opened):
    """The open page; a fault in it, or anything that its policy had to forbid, fails the test."""
    yield opened
    assert opened.log() == []


def route_of(module):
    """The first route of a pipeline that takes a file."""
    return next(each.path for each in load_pipeline(module).operations if each.input != "none")


def answer_of(server, path, file):
    """The server's own answer to the same file."""
    kinds = {".csv": "text/csv", ".pdf": "application/pdf", ".png": "image/png", ".jpg": "image/jpeg"}
    head = {"Content-Type": kinds[file.suffix]}
    url = f"http://127.0.0.1:{server.port}{path}?visualize=false"
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.post(url, content=file.read_bytes(), headers=head).json()["result"]


def check_page(browser, result):
    """The page shows what the answer holds. By shape, as the page does it."""
    listed = "#panel-found .what"
    match result:
        case {"ocrResults": [found]}:
            texts = found["prunedResult"]["rec_texts"]
            assert texts and browser.texts(listed) == texts
            assert browser.count("#stage .shape") == len(texts)
        case {"tableRecResults": [found]}:
            read, tables = found["prunedResult"]["overall_ocr_res"], found["prunedResult"]["table_res_list"]
            assert tables and set(read["rec_texts"]) <= set(browser.texts(listed))
            assert browser.count("#panel-tables table") == len(tables)
            html = "".join(table["pred_html"] for table in tables)
            assert browser.count("#panel-tables td, #panel-tables th") == html.count("<td") + html.count(
                "<th"
            )
            assert all(text in html.replace("&amp;", "&") for text in browser.texts("#panel-tables td"))
        case {"layoutParsingResults": [first, second]}:
            texts = first["prunedResult"]["overall_ocr_res"]["rec_texts"]
            assert set(texts) <= set(browser.texts(listed))
            assert browser.one("#page-number").text == "Page 1 of 2"
            browser.one("#next").click()
            wait_for(lambda: browser.one("#page-number").text == "Page 2 of 2")
            wait_for(lambda: "Total: 1234.50" in browser.texts(listed), what="the second page's texts")
            assert browser.run("return document.querySelector('#stage image').href.baseVal").startswith(
                "data:"
            )
            assert second
        case {"detectedObjects": objects} | {"instances": objects}:
            assert objects and browser.texts(listed) == [each["categoryName"] for each in objects]
            assert browser.count("#stage .shape") == len(objects)
            assert browser.count("#stage image") == 1 + ("instances" in result)
        case {"labelMap": labels}:
            shares = np.bincount(labels) / len(labels)
            shown = [f"{100 * share:.1f} %" for share in sorted(shares[shares > 0], reverse=True)]
            assert browser.texts("#panel-labels .score") == shown
            assert browser.count("#stage image") == 2
        case {"categories": categories}:
            assert browser.texts("#panel-classes li > span:first-child") == [
                each["name"] for each in categories
            ]
        case {"csv": text}:
            (head, *rows) = csv.reader(io.StringIO(base64.b64decode(text).decode()))
            assert len(head) == browser.count("#panel-series th[scope=col]")
            assert browser.texts("#panel-series td") == [cell for row in rows[:200] for cell in row[1:]]
            assert browser.count("#stage path.series") >= 1
        case {"label": label}:
            assert browser.texts("#panel-classes li > span:first-child") == [label]
            assert browser.count("#stage path.series") >= 1
        case _:
            pytest.fail(f"a result of another shape: {list(result)}; docs/playground.md")


@pytest.mark.parametrize("module", pipeline_modules())
def test_what_a_pipeline_finds_is_on_the_page(browser, server, files, module):
    path = route_of(module)
    status = browser.ask(path, files[module])
    assert status.startswith("Done"), status
    result = answer_of(server, path, files[module])
    check_page(browser, result)
    steps = dict(
        zip(browser.texts("#panel-timings th[scope=row]"), browser.texts("#panel-timings td"), strict=True)
    )
    assert {"recv", "decode"} <= set(steps) and all(float(ms) >= 0 for ms in steps.values())
    assert json.loads(browser.texts("#panel-json code")[0])["errorCode"] == 0


def test_a_document_is_asked_for_keys(browser, files):
    assert browser.ask("/chatocr-visual", files["pp_chatocrv3_doc"]).startswith("Done")
    browser.tab("ask")
    browser.one("#keys").send_keys("Invoice No\nTotal")
    browser.one("#ask").click()
    wait_for(lambda: browser.one("#ask-status").text.startswith("Answered"), 20, "an answer")
    assert browser.texts("#answers th") == ["Invoice No", "Total"]
    assert "4711-A" in browser.texts("#answers td")[0] and "1234.50" in browser.texts("#answers td")[1]


def test_list_and_boxes_point_at_each_other_and_zoom_keeps_them(browser, files):
    browser.ask("/ocr", files["ocr"])
    browser.tab("found")
    browser.run("document.querySelectorAll('#panel-found button')[2].focus()")
    assert browser.run("return document.querySelector('.shape.on').dataset.id") == "2"
    browser.run(
        "const box = document.querySelector('.shape[data-id=\"4\"]');"
        "box.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: 500, clientY: 300}))"
    )
    assert browser.run("return document.querySelector('.found button.on').textContent").startswith(
        browser.texts("#panel-found .what")[4]
    )
    assert browser.texts("#panel-found .what")[4] in browser.one("#tip").text
    before = browser.view()
    browser.one("#zoom-in").click()
    assert browser.view() != before
    browser.one("#zoom-fit").click()
    assert browser.view() == before


def test_parameters_come_from_the_api_document_and_reach_the_server(browser, server, files):
    browser.choose("/ocr")
    document = httpx.get(f"http://127.0.0.1:{server.port}/openapi.json", trust_env=False).json()
    fields = document["components"]["schemas"]["OcrRequest"]["properties"]
    assert set(browser.texts("#fields code")) == set(fields) - {"file", "fileType", "logId"}
    browser.run("document.querySelector('#parameters').open = true")
    field = browser.one("#parameter-textRecScoreThresh")
    field.send_keys("0.999999")
    assert browser.ask("/ocr", files["ocr"]).startswith("Done")
    shown = json.loads(browser.texts("#panel-json code")[0])["result"]["ocrResults"][0]["prunedResult"]
    assert shown["text_rec_score_thresh"] == 0.999999
    browser.choose("/object-detection")
    browser.one("#parameter-threshold").send_keys('{"0": ')
    browser.one("#run").click()
    assert "threshold" in browser.status()
    assert browser.driver.switch_to.active_element == browser.one("#parameter-threshold")


def test_the_commands_do_what_the_page_did_whatever_the_file_is_called(browser, files, tmp_path):
    name = 'it\'s "a" $(touch x) `x` \\ 页.png'
    file = tmp_path / name
    file.write_bytes(files["ocr"].read_bytes())
    browser.ask("/ocr", file)
    texts = browser.texts("#panel-found .what")
    curl, python = browser.texts("#panel-code code")
    (tmp_path / "ask.py").write_text(python)
    for command in (["bash", "-c", curl.replace("curl", "curl -s --noproxy '*'", 1)], ["python3", "ask.py"]):
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, check=True, env=os.environ | {"no_proxy": "*"}
        )
        answer = json.loads(done.stdout)
        found = answer.get("result", answer)["ocrResults"][0]["prunedResult"]["rec_texts"]
        assert found == texts
    assert {path.name for path in tmp_path.iterdir()} == {name, "ask.py"}


def module(browser, name, code, *arguments):
    """Run code with one of the page's own modules as ``m``."""
    script = (
        "const done = arguments[arguments.length - 1], base = document.querySelector('script[src]').src;"
        f"import(new URL('{name}.js', base)).then(async (m) => {{ {code} }})"
        ".catch((fault) => done(`failed: ${fault}`))"
    )
    return browser.driver.execute_async_script(script, *arguments)


def test_text_of_a_document_is_never_markup(browser):
    hostile = (
        '<html><body><table><tr><td onclick="alert(1)" colspan="2"><img src=x onerror=alert(1)>'
        "a&lt;b&gt;&#x27;<script>alert(1)</script></td><td rowspan=99999999>c</td></tr></table>"
        "<iframe src=//x></iframe></body></html>"
    )
    code = "const [t] = m.tablesIn(arguments[0]); done([t.outerHTML, t.querySelectorAll('*').length])"
    html, count = module(browser, "tables", code, hostile)
    assert html == (
        '<table><tr><td colspan="2" rowspan="1">a&lt;b&gt;\'alert(1)</td>'
        '<td colspan="1" rowspan="1000">c</td></tr></table>'
    )
    assert count == 3
    assert "TypeError" in browser.run(
        "try { document.body.innerHTML = '<b>x</b>'; return 'taken' } catch (e) { return e.name }"
    )
    assert [line for line in browser.log() if "TrustedHTML" not in line] == []


def test_a_large_label_map_leaves_the_page_its_turns(browser):
    """Twelve million labels: other work of the page runs in between, many times."""
    code = """
        let ticks = 0, on = true;
        const tick = () => { ticks += 1; if (on) setTimeout(tick); };
        const labels = "0,1,2,".repeat(4e6);
        const bytes = new TextEncoder().encode(`{"result":{"labelMap":[${labels}7],"a":"x\\\\"[1"}}`);
        tick();
        const { result } = await m.readJson(bytes);
        on = false;
        const map = result.labelMap;
        done([ticks, map.constructor.name, map.length, map[1], map[12000000], result.a]);
    """
    ticks, *rest = module(browser, "reader", code)
    assert rest == ["Uint16Array", 12_000_001, 1, 7, 'x"[1']
    assert ticks >= 8


def test_json_that_only_looks_like_a_label_map_stays_what_it_is(browser):
    value = {
        "a": [[1, [2, 3]], [70000] * 5000, [1.5] * 5000, [-1] * 5000, [], [1] * 4096, [True]],
        "b": "[1,2,\"]\\", "c": ["[", None], "d": [12],
    }  # fmt: skip
    code = """
        const plain = (key, value) => ArrayBuffer.isView(value) ? [...value] : value;
        done(JSON.stringify(await m.readJson(new TextEncoder().encode(text)), plain));
    """
    for text in (json.dumps(value), json.dumps(value, separators=(",", ":"))):
        assert json.loads(module(browser, "reader", f"const text = arguments[0]; {code}", text)) == value
    for broken in ('{"a": [1,2', '["', ""):
        assert module(browser, "reader", f"const text = arguments[0]; {code}", broken).startswith("failed")


# --- for everybody

#: Names, roles and relations that a screen reader needs.
RULES = """
    const faults = [], all = [...document.querySelectorAll('*')], ids = all.map((e) => e.id).filter(Boolean);
    const fault = (e, why) => faults.push(`${why}: ${e.outerHTML.slice(0, 120)}`);
    for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`two of id ${id}`);
    for (const e of all) {
        for (const name of ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for']) {
            for (const id of (e.getAttribute(name) ?? '').split(' ').filter(Boolean)) {
                if (!document.getElementById(id)) fault(e, `${name} names nothing`);
            }
        }
        if (e.matches('img') && !e.hasAttribute('alt')) fault(e, 'no alt');
        if (e.matches('input, select, textarea') && !e.labels?.length) fault(e, 'no label');
        if (e.matches('button, summary, a') && !(e.textContent.trim() || e.ariaLabel)) fault(e, 'no name');
        const needs = e.matches('[role=img], [role=region], [role=group], section, nav');
        if (needs && !e.ariaLabel && !e.hasAttribute('aria-labelledby')) fault(e, 'no name');
        if (e.matches('th') && e.closest('.numbers') && !e.scope) fault(e, 'no scope');
        if (e.tabIndex > 0) fault(e, 'an order of its own');
        if (e.matches('[role=tab]') && !e.hasAttribute('aria-selected')) fault(e, 'selected?');
    }
    for (const tag of ['main', 'header', 'h1']) {
        if (document.querySelectorAll(tag).length !== 1) faults.push(`not one ${tag}`);
    }
    if (!document.documentElement.lang || !document.title) faults.push('no language or title');
    return faults;
"""
#: Contrast of every text that is shown with what is behind it (WCAG 2.2, 1.4.3).
CONTRAST = """
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
    const context = canvas.getContext('2d', {willReadFrequently: true});
    const rgba = (paint) => {
        context.clearRect(0, 0, 1, 1); context.fillStyle = paint; context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const paint = rgba(getComputedStyle(e).backgroundColor);
            if (paint[3] === 255) return paint;
        }
        return [255, 255, 255, 255];
    };
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const parts = [.2126, .7152, .0722];
    const light = (paint) => parts.reduce((sum, part, i) => sum + part * linear(paint[i] / 255), 0);
    const faults = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        const left = e.closest('svg') || e.matches(':disabled, option, script, noscript');
        if (!own || left || !e.checkVisibility()) continue;
        const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
        const ratio = (a + .05) / (b + .05);
        if (ratio < 4.5) faults.push(`${ratio.toFixed(2)}: ${e.outerHTML.slice(0, 100)}`);
    }
    return faults;
"""


def test_names_roles_and_contrast_in_both_themes(browser, files):
    browser.ask("/table-recognition", files["table_recognition"])
    for theme in ("light", "dark"):
        browsers.Select(browser.one("#theme")).select_by_value(theme)
        assert browser.run("return getComputedStyle(document.documentElement).colorScheme") == theme
        for view in ("found", "tables", "timings", "code", "json"):
            browser.tab(view)
            assert browser.run(RULES) == []
            assert browser.run(CONTRAST) == []
    browsers.Select(browser.one("#theme")).select_by_value("")
    assert browser.run("return localStorage.getItem('playground-theme')") == ""


def test_the_page_works_with_the_keyboard_alone(browser, server):
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.press(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the results"
    browser.tab_to("#operation")
    browser.press("OCR")
    assert browser.one("#operation").get_attribute("value") == "/ocr"
    for selector in ("#file", "#examples button:last-of-type"):
        browser.tab_to(selector)
        ring = "#drop .button" if selector == "#file" else selector
        look = "const s = getComputedStyle(document.querySelector(arguments[0])); return s.outline"
        assert "solid 2px" in browser.run(look, ring), "the focus is seen"
    browser.run("document.querySelector('[data-name=\"dense_column.png\"]').focus()")
    browser.press(Keys.ENTER)
    wait_for(lambda: "dense_column" in browser.one("#file-name").text, what="the example is taken")
    browser.tab_to("#run")
    browser.press(Keys.ENTER)
    assert browser.ended().startswith("Done")
    live = browser.one("#status")
    assert (live.get_attribute("role"), live.get_attribute("aria-live")) == ("status", "polite")
    browser.tab_to("#stage svg")
    before = browser.view()
    browser.press("+")
    assert browser.view() != before
    browser.press("0")
    assert browser.view() == before
    browser.tab_to("#tab-found")
    browser.press(Keys.ARROW_RIGHT)
    assert browser.driver.switch_to.active_element == browser.one("#tab-timings")
    assert browser.one("#panel-timings").is_displayed() and not browser.one("#panel-found").is_displayed()
    browser.press(Keys.HOME)
    browser.tab_to("#panel-found button")
    assert browser.count(".shape.on") == 1


def test_nothing_scrolls_sideways_on_the_narrowest_phone(browser, files):
    browser.ask("/table-recognition", files["table_recognition"])
    browser.width(320)
    try:
        browser.run("document.querySelector('#parameters').open = true")
        for view in ("found", "tables", "timings", "code", "json"):
            browser.tab(view)
            assert browser.run("return document.documentElement.scrollWidth") <= 320, view
    finally:
        browser.width(0, 0)


# --- keys, and no page


def test_a_key_is_asked_for_and_never_stored_and_the_page_can_be_off(chrome, tmp_path):
    text, key = new_key("somebody")
    append_key(tmp_path / "keys", key)
    config = fake_config(tmp_path / "models", devices=1)
    config = msgspec.structs.replace(config, access=Access(api_keys=str(tmp_path / "keys")))
    (tmp_path / "page.png").write_bytes(png(page(1)))
    with Server(config, tmp_path) as server:
        server.wait_ready()
        chrome.open(f"http://127.0.0.1:{server.port}/")
        assert "key" in chrome.ask("/ocr", tmp_path / "page.png").lower()
        assert chrome.driver.switch_to.active_element == chrome.one("#key")
        assert all("401" in line for line in chrome.log())
        chrome.press(text)
        chrome.one("#run").click()
        wait_for(lambda: chrome.status().startswith("Done"), 20, "an answer")
        stored = (
            "return [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie].join()"
        )
        assert text not in chrome.run(stored) and text not in "".join(chrome.texts("#panel-code code"))
        chrome.one("#keep-key").click()
        assert text in chrome.run("return sessionStorage.getItem('playground-key')")
        chrome.one("#keep-key").click()
        assert text not in chrome.run(stored)
        assert chrome.log() == []
        off = msgspec.structs.replace(config, playground=False)
        server.reconfigure(off)
        server.follow(off)
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            assert [client.get(path).status_code for path in ("/", "/docs")] == [404, 200]

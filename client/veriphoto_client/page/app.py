"""The page itself, as Streamlit runs it: from top to bottom at every click."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import streamlit as st

from veriphoto.contract import GATEWAY_PORT, MAX_FILE_BYTES
from veriphoto.errors import ImageError
from veriphoto.headers import ACCEPTED
from veriphoto.telemetry import logs
from veriphoto_client.page.drawing import gate, overlaid, scale, thumbnail
from veriphoto_client.page.gateway import UNANSWERED, Gateway, PageError, Photo
from veriphoto_client.page.provenance import claimed, details
from veriphoto_client.page.table import rank, sortable, table, to_csv
from veriphoto_client.page.uploads import MOST_BYTES, MOST_PHOTOS, photos_of
from veriphoto_client.page.words import REASONS, UNJUDGED, WORDS, likelihood, plain, rarity, standing, thanks

URL_VARIABLE: Final = "VERIPHOTO_GATEWAY_URL"
REVIEW_VARIABLE: Final = "VERIPHOTO_REVIEW_DATABASE"
PAGES: Final = "veriphoto.pages"  # entry points of further tabs: functions that draw one
KEY_VARIABLE: Final = "VERIPHOTO_API_KEY"
DEFAULT_URL: Final = f"http://127.0.0.1:{GATEWAY_PORT}"

_MEANING: Final = """
**The probability** is the model's estimate that the photo was made by an AI generator. It is calibrated: of many photos
that get 80 %, about 80 % are AI-generated, where photos are like those the model was tested on.

**No sign of AI generation found** means that, and not that a camera took the photo: about one AI picture in ten of
generators that the model does not know gets this answer.

**Unsure** is an answer. Small, heavily compressed or borderline photos get it instead of a guess.

**What it cannot do.** It makes mistakes in both directions. It does not know every generator, and a photo that was
edited, photographed from a screen or compressed many times is harder. It says nothing about whether a product is real,
nor who made a photo. Do not decide about a person by this answer alone: look at the photo, and ask the seller.

**Just, clearly or far** above or below the limit: how far the score lies beyond the unsure range, whose two ends are
the limits.

**The evidence map** shows which places pushed the score: red towards AI, blue away from it; where no sign of AI
generation was found, only blue is drawn. Only what the model looks at is coloured, the largest square in the middle. It
shows where, not why.

**Metadata** are claims that anybody can remove or forge. That they are absent proves nothing, and they never change the
score.

**Your photos** are held in memory while this page is open, and are not stored.
"""
_QUESTION: Final = "What the answer means, and what it does not"
_TRUTHS: Final = {"real": "a real photo", "ai_generated": "AI-generated"}
_ANSWERS, _TOLD = "answers", "told"
_MEGA: Final = 1_000_000
_ROW: Final = 72  # from here on Streamlit breaks the lines of cells
# Streamlit's own words under the button name one limit for photos and ZIP files.
_STYLE: Final = """<style>
.stMainBlockContainer {padding-top: 2.5rem}
[data-testid="stFileUploaderDropzoneInstructions"], [data-testid="InputInstructions"] {display: none}
</style>"""
_DRIFT: Final = {
    "ok": "photos look as when it was tested",
    "drift": "recent photos differ from those it was tested on",
    "unknown": "too few photos so far to compare with those it was tested on",
    "away": "nobody watches whether photos change",
}


@st.cache_resource
def gateway() -> Gateway:
    """Returns the connection that all visitors share."""
    return Gateway(os.environ.get(URL_VARIABLE, DEFAULT_URL), os.environ.get(KEY_VARIABLE, ""))


@st.cache_data(scope="session", max_entries=64, ttl=600, show_spinner="Judging ...")
def explained(name: str, content: bytes) -> dict[str, Any]:
    """Asks once for each photo, however often the page runs."""
    return gateway().explain(Photo(name, content))


def judged(photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """Asks until each photo of this upload has its answer, once for each, and shows how far it is."""
    keys = [f"{photo.name} {hashlib.sha256(photo.content).hexdigest()}" for photo in photos]
    known: dict[str, dict[str, Any]] = st.session_state.get(_ANSWERS, {})
    # Of earlier uploads nothing is kept.
    answers = st.session_state[_ANSWERS] = {
        key: known[key] for key in keys if key in known and known[key].get("error") not in UNANSWERED
    }
    missing = {key: photo for key, photo in zip(keys, photos, strict=True) if key not in answers}
    if missing:
        progress = st.progress(0.0, "Judging ...")
        asked = gateway().judge(list(missing.values()))
        for number, ((key, photo), answer) in enumerate(zip(missing.items(), asked, strict=True), 1):
            answers[key] = {**answer, "thumbnail": thumbnail(photo.content) if "probability" in answer else ""}
            progress.progress(number / len(missing), f"{number} of {len(missing)}")
        progress.empty()
    return [answers[key] for key in keys]


def main() -> None:
    """Draws the page; with a review database other parts' pages are tabs beside it."""
    st.set_page_config(page_title="Veriphoto", page_icon="📷", layout="wide", menu_items={})
    st.html(_STYLE)
    if not os.environ.get(REVIEW_VARIABLE):
        photos()
        return
    others = [
        st.Page(part.load(), title=part.name.capitalize(), url_path=part.name) for part in entry_points(group=PAGES)
    ]
    tabs = [st.Page(photos, title="Photos", default=True), *others]
    chosen = st.navigation(tabs, position="hidden")
    with st.container(horizontal=True):  # Streamlit's own menu covers a phone's screen until it is closed
        for tab in tabs:
            st.page_link(tab)
    chosen.run()


def photos() -> None:
    """Draws the tab where photos are dropped."""
    st.title("Veriphoto")
    st.markdown("Was this product photo made by an AI generator?")
    files = st.file_uploader(
        f"Drop photos ({ACCEPTED}; up to {MAX_FILE_BYTES // _MEGA} MB each) or a ZIP of them "
        f"(up to {MOST_PHOTOS} photos, {MOST_BYTES // _MEGA} MB)",
        accept_multiple_files=True,
    )
    if files:
        try:
            _show([(file.name, file.getvalue()) for file in files])
        except PageError as error:
            st.error(plain(str(error)), icon="⚠️")
    if not files:
        with st.expander(_QUESTION, expanded=True):
            st.markdown(_MEANING)
    _footer()


def _show(files: list[tuple[str, bytes]]) -> None:
    photos = photos_of(files)
    if not photos:
        raise PageError("There is no photo in this upload.")
    if len(photos) == 1:
        if photos[0].problem:
            raise PageError(f"{photos[0].name} could not be judged: {photos[0].problem}.")
        _one(photos[0])
    else:
        _many(photos)


def _one(photo: Photo) -> None:
    answer = explained(photo.name, photo.content)
    # In this order, because a phone shows columns one below the other.
    words, picture = st.columns(2, gap="large")
    with words:
        _verdict(answer)
        with st.popover(_QUESTION):
            st.markdown(_MEANING)
        _wrong(photo, answer["verdict"])
        _provenance(answer["provenance"])
    with picture:
        strength = 0
        if scored := answer["reason"] not in UNJUDGED:
            strength = st.slider("Evidence over the photo", 0, 100, 60, format="%d %%", key=f"strength {photo.name}")
        try:
            shown = overlaid(photo.content, answer["overlay_png_base64"], strength / 100)
        except ImageError as error:
            raise PageError(error.message) from error
        st.image(shown, caption=plain(photo.name), width="stretch")
        if scored:
            st.caption(answer["explanation"])


def _verdict(answer: dict[str, Any]) -> None:
    verdict = answer["verdict"]
    st.markdown(f"## :{_streamlit_colour(verdict)}[{WORDS[verdict]}]")
    reason = REASONS[answer["reason"]]
    if reason:
        st.markdown(f"because {reason}.")
    version = f"model version **{answer['model_version']}** · {answer['inference_time_ms']:.0f} ms"
    if decided := gate(answer):  # not by the score, so that is not shown as if it had been
        st.markdown(f"{decided} · {version}")
        return
    low, high = answer["unsure_band"]
    st.html(scale(answer["probability"], answer["threshold"], (low, high)))
    where = f"{words} · " if (words := standing(answer)) else ""
    st.markdown(f"**{likelihood(answer['probability'])}** probability of being AI-generated · {where}{version}")
    share = answer["real_photos_this_high"]
    if share is not None:
        st.markdown(rarity(share))
    if answer["second_opinion"]["asked"]:
        st.caption("Two models looked at this photo, and the score is of both.")


def _wrong(photo: Photo, verdict: str) -> None:
    """Takes the truth from those who know it, where a review takes it; another answer corrects the one before."""
    if not gateway().health().get("feedback"):
        return
    told: dict[bytes, tuple[str, str]] = st.session_state.setdefault(_TOLD, {})
    digest = hashlib.sha256(photo.content).digest()
    said, status = told.get(digest, (verdict, ""))
    label = "Correct this" if status else "This is wrong" if verdict != "unsure" else "I know what it is"
    with st.popover(label, key=f"tell {digest.hex()} {said} {status}"):  # a new key closes it
        note = st.text_input("How do you know? (optional)", max_chars=500, key=f"note {photo.name}")
        for truth, words in _TRUTHS.items():
            if truth != said and st.button(f"It is {words}", key=f"{truth} {photo.name}", width="stretch"):
                told[digest] = (truth, gateway().tell(photo, truth, note))
                st.rerun()
    if status:
        st.success(f"You said that it is {_TRUTHS[said]}. {thanks(status)}")


def _streamlit_colour(verdict: str) -> str:
    return {"real": "blue", "ai_generated": "red"}.get(verdict, "gray")


def _provenance(claims: dict[str, Any]) -> None:
    st.markdown(f"**Metadata** · {plain(claimed(claims))}")
    with st.expander("Details of the metadata"):
        st.markdown("\n".join(f"- {title}: `{text}`" for title, text in details(claims)))
        st.caption("Anybody can write or remove metadata. They are never part of the score.")


def _many(photos: Sequence[Photo]) -> None:
    pairs = zip(photos, judged(photos), strict=True)
    photos, answers = zip(*sorted(pairs, key=lambda pair: rank(pair[1])), strict=True)
    rows = table(answers)
    verdicts = [answer.get("verdict", "") for answer in answers]
    counts = {words: verdicts.count(verdict) for verdict, words in {**WORDS, "": "not judged"}.items()}
    st.markdown(f"{len(rows)} files · " + " · ".join(f"{words}: **{count}**" for words, count in counts.items()))
    if left := sum(answer.get("error") in UNANSWERED for answer in answers):
        st.warning(f"The service was too busy for {left} of these photos. The other answers are complete.", icon="⚠️")
        st.button("Try the rest again")
    st.dataframe(
        sortable(rows),
        placeholder="not judged",
        width="stretch",
        hide_index=True,
        row_height=_ROW,
        column_config={
            "photo": st.column_config.ImageColumn("", width=_ROW, pinned=True),
            "filename": st.column_config.TextColumn("file", width=150),
            "probability": st.column_config.NumberColumn("AI probability", width=120),
            "answer": st.column_config.TextColumn(width=320),
        },
    )
    st.download_button("Download these answers as CSV", to_csv(answers), "veriphoto.csv", "text/csv")
    good = [index for index, verdict in enumerate(verdicts) if verdict]
    if good:
        chosen = st.selectbox("Look at one", good, format_func=lambda index: f"{rows[index]['filename']}")
        _one(photos[chosen])


def _footer() -> None:
    health = gateway().health()
    if health["status"] == "away":
        st.warning("The service does not answer at the moment; photos cannot be judged until it does.", icon="🔌")
        return
    drift = _DRIFT.get(str(health["drift"].get("state")), "not known whether photos have changed")
    working = "working" if health["status"] == "ok" else f"not ready ({health['status']})"
    st.caption(f"Service: {working} · model version {health['model_version']} · {drift}")


if __name__ == "__main__":
    logs.configure("page")
    main()

"""Texts in old encodings are read as they were written, whatever their files state.

pytest tests/documents/test_charsets.py
"""

from __future__ import annotations

import pytest

from clara.documents import read_stream

TEXTS = {
    "cp1251": "Поезд отходит в девять часов вечера.",
    "koi8-r": "Поезд отходит в девять часов вечера.",
    "cp866": "Поезд отходит в девять часов вечера.",
    "shift_jis": "列車は午後九時に出発します。切符は五百円です。",
    "euc_jp": "列車は午後九時に出発します。切符は五百円です。",
    "gb18030": "火车晚上九点出发。票价五百元。",
    "big5": "火車晚上九點出發。票價五百元。",
    "cp949": "기차는 저녁 아홉 시에 출발합니다.",
    "cp1253": "Το τρένο φεύγει στις εννέα το βράδυ.",
    "cp1255": "הרכבת יוצאת מהתחנה בשעה תשע בערב. " * 9 + "המחיר הוא חמישה שקלים.",
    "cp1256": "يغادر القطار في الساعة التاسعة مساءً.",
    "cp874": "รถไฟออกเวลาสามทุ่ม ราคาห้าบาท",
    "cp1250": "Vlak odjíždí v devět hodin večer. Příliš žluťoučký kůň.",
    "cp1252": "Le train part à neuf heures du soir : café, élève, naïve, 5 €.",
}
CASES = pytest.mark.parametrize(("encoding", "text"), TEXTS.items())


def read(data: bytes, suffix: str) -> str:
    return "\n".join(section.text for section in read_stream(data, suffix=suffix).sections)


@CASES
def test_text_that_states_no_encoding(encoding: str, text: str) -> None:
    assert read(text.encode(encoding), ".txt") == text
    cue = f"1\r\n00:00:01,000 --> 00:00:02,000\r\n{text}\r\n"
    assert read(cue.encode(encoding), ".srt") == text


@CASES
@pytest.mark.parametrize("stated", ["", "utf-8", "iso-8859-1", "no-such-name"])
def test_page_that_states_none_or_a_wrong_encoding(encoding: str, text: str, stated: str) -> None:
    page = (
        f'<html><head><meta charset="{stated}"><title>A page</title></head><body><p>{text}</p></body></html>'
    )
    if (encoding, stated) == ("cp1250", "iso-8859-1"):  # what fits, and is in the Latin alphabet, is believed
        text = text.encode(encoding).decode("cp1252", "replace")
    assert read(page.encode(encoding), ".html") == text


@CASES
@pytest.mark.parametrize("header", ["", "; charset=us-ascii", "; charset=wrong"])
def test_saved_page_that_states_its_encoding_within(encoding: str, text: str, header: str) -> None:
    page = f'<meta http-equiv="Content-Type" content="text/html; charset={encoding}"><p>{text}</p>'
    top = f"MIME-Version: 1.0\r\nContent-Type: text/html{header}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    assert read(top.encode() + page.encode(encoding), ".mhtml") == text


def test_large_text_is_told_by_its_first_words() -> None:
    text = "A first line.\n\n" * 9000 + "Поезд отходит в девять часов вечера.\n"
    assert read(text.encode("cp1251"), ".txt").endswith("\n\nПоезд отходит в девять часов вечера.")


LONGER = {
    "iso2022_jp": "列車は午後九時に出発します。",
    "cp1250": """A vonat este kilenckor indul a fővárosból, és reggel ér a tengerhez. Az első osztályú
jegy ára ötezer forint, a gyermekeké ennek a fele. Kérjük, őrizze meg jegyét az út végéig, mert a
kalauz többször is ellenőrzi. A büfékocsiban kávét, teát és szendvicset lehet kapni. Jó utat
kívánunk! Késés esetén a pénztár visszafizeti a jegy árának egy részét.""",
    "cp1254": """Tren akşam saat dokuzda başkentten kalkıyor ve sabah denize varıyor. Birinci sınıf
biletin fiyatı beş bin liradır, çocuklar için bunun yarısıdır. Lütfen biletinizi yolculuğun sonuna
kadar saklayın, çünkü görevli birkaç kez denetliyor. Yemekli vagonda kahve ve çay alınabilir.""",
    "cp1252": """O comboio parte da estação às nove da noite e chega ao mar de manhã. O preço da primeira
classe é de cinco mil, as crianças pagam metade. Não é possível mudar de lugar, são só opiniões.""",
}


@pytest.mark.parametrize(("encoding", "text"), LONGER.items())
def test_longer_texts_that_state_no_encoding(encoding: str, text: str) -> None:
    assert read(text.encode(encoding), ".txt").split() == text.split()

"""Errors as RFC 9457 problem details, in Chinese and English, without a word about the inside of the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from fastapi import Response

from learnguard.report.words import Lang

MEDIA_TYPE: Final = "application/problem+json"

#: code -> (status, Chinese title, English title). The code is the fragment of the problem's ``type``.
KINDS: Final[Mapping[str, tuple[int, str, str]]] = MappingProxyType(
    {
        "foreign-host": (400, "不接受这个主机名", "This host name is not answered"),
        "not-json": (400, "请求正文不是 JSON", "The body is not JSON"),
        "token-needed": (401, "需要访问令牌", "A token is needed"),
        "no-address": (404, "没有这个地址", "There is no such address"),
        "no-run": (404, "还没有这一天的结果", "No result has been published"),
        "no-record": (404, "没有核查过这条记录", "This record was never assessed"),
        "method": (405, "这个地址不支持这种请求方法", "This address does not take this method"),
        "several-platforms": (409, "多个平台都有这个记录编号", "Several platforms have this record id"),
        "too-large": (413, "请求正文过大", "The body is too large"),
        "media-type": (415, "请求正文的格式不支持", "This kind of body is not taken"),
        "wrong-shape": (422, "请求的内容不符合约定", "The request is not of the agreed shape"),
        "unreadable": (422, "数据无法读取", "The data cannot be read"),
        "refused": (400, "请求无法处理", "The request cannot be handled"),
        "inside": (500, "服务器内部出错", "Something went wrong inside the server"),
        "busy": (503, "正在处理的请求过多", "Too many requests are being worked on"),
    }
)


class Problem(Exception):  # noqa: N818 - named as RFC 9457 names it
    """What went wrong: a kind of :data:`KINDS`, the details in both languages, headers, and single faults if any."""

    def __init__(
        self,
        kind: str,
        detail_zh: str,
        detail_en: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(detail_en)
        self.kind = kind
        self.detail_zh = detail_zh
        self.detail_en = detail_en
        self.headers = dict(headers or {})
        self.errors = tuple(errors)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind][0]

    def title(self, lang: Lang) -> str:
        """What kind of problem it is, in one line."""
        _, zh, en = KINDS[self.kind]
        return zh if lang == "zh" else en

    def detail(self, lang: Lang) -> str:
        """What is wrong here, and what to do."""
        return self.detail_zh if lang == "zh" else self.detail_en

    def body(self, lang: Lang) -> dict[str, Any]:
        """The members of the problem; ``title`` and ``detail`` in ``lang``, and both languages beside them."""
        members: dict[str, Any] = {
            "type": f"/api/docs#problem-{self.kind}",
            "status": self.status,
            "title": self.title(lang),
            "detail": self.detail(lang),
            "title_zh": self.title("zh"),
            "title_en": self.title("en"),
            "detail_zh": self.detail_zh,
            "detail_en": self.detail_en,
        }
        return members | ({"errors": [dict(e) for e in self.errors]} if self.errors else {})

    def response(self, lang: Lang) -> Response:
        """The problem as it goes over the wire."""
        return Response(
            msgspec.json.encode(self.body(lang)),
            self.status,
            headers=self.headers | {"Content-Language": lang},
            media_type=MEDIA_TYPE,
        )


def no_address() -> Problem:
    """Nothing is at this address."""
    return Problem(
        "no-address", "请核对网址。接口说明见 /api/docs。", "Check the address. The API is described at /api/docs."
    )


def inside(reference: str) -> Problem:
    """Something failed that the caller cannot mend; ``reference`` finds it in the server's log."""
    return Problem(
        "inside",
        f"请联系管理员，并告知编号 {reference}；日志中可按此编号查找。",
        f"Tell the administrator the reference {reference}: the log has it.",
    )

"""Every prompt as text with document slots. No tokenizer, no model.

`SLOT` marks where a document goes: its memory, or its text. The strings of Apple's format are that
format's constants, which its weights were trained with; our own format is `PLAIN_*`. The "pairs" format has
no words at all: documents, question and answer are told apart by their blocks (`clara.processing`).
"""

from __future__ import annotations

from collections.abc import Sequence

SLOT = "\N{OBJECT REPLACEMENT CHARACTER}"

APPLE_ANSWER_SYSTEM = (
    "You are a helpful assistant. Your task is to extract relevant information from provided documents and "
    "to answer to questions as briefly as possible."
)
APPLE_QA_SYSTEM = (
    "You are a helpful assistant. Given a document, your task is to generate some single questions to cover "
    "all key information of the document and answer them sequentially."
)
APPLE_PARAPHRASE_SYSTEM = (
    "You are a helpful assistant. Your task is follow the instructions to paraphrase the background "
    "information."
)
APPLE_PARAPHRASE = "In other words, background: {documents} is just another way of saying:"


def without_slots(text: str) -> str:
    """A user's text, which must not open slots of its own (files copied from a PDF hold such characters)."""
    return text.replace(SLOT, "")


def apple_answer(question: str, num_documents: int) -> tuple[str, str]:
    """System and user message of Apple's format for answering."""
    user = f"Background:\n{SLOT * num_documents}\n\nQuestion:{without_slots(question)}"
    return APPLE_ANSWER_SYSTEM, user


def apple_qa(num_documents: int = 1) -> tuple[str, str]:
    """System and user message of Apple's format for question-answer pretraining."""
    return APPLE_QA_SYSTEM, f"Background:\n{SLOT * num_documents}"


def qa_target(questions: Sequence[str], answers: Sequence[str]) -> str:
    """The target of question-answer pretraining: all pairs of one passage."""
    return "\n".join(
        f"Question: {question}\nAnswer: {answer}" for question, answer in zip(questions, answers, strict=True)
    )


def apple_paraphrase(num_documents: int = 1) -> tuple[str, str]:
    """System and user message of Apple's format for paraphrase pretraining."""
    return APPLE_PARAPHRASE_SYSTEM, APPLE_PARAPHRASE.format(documents=SLOT * num_documents)


def plain_answer(question: str, num_documents: int) -> str:
    """Our own prompt for a causal base without chat template."""
    return f"Documents:\n{SLOT * num_documents}\nQuestion: {without_slots(question)}\nAnswer:"


def plain_qa(num_documents: int = 1) -> str:
    """Our own prompt for question-answer pretraining."""
    return f"Documents:\n{SLOT * num_documents}\nQuestions and answers:"


def plain_paraphrase(num_documents: int = 1) -> str:
    """Our own prompt for paraphrase pretraining."""
    return f"Documents:\n{SLOT * num_documents}\nIn other words:"


DOCUMENT_PREFIX = "Document:\n"
"""Before each document in a prompt of pooled memories."""

DOCUMENTS_PARAPHRASE = "In other words:"


def documents_question(question: str) -> str:
    """A question as the query reasoner reads it, and as prompts of pooled memories begin it."""
    return f"Question: {without_slots(question).strip()}"


def documents_answer(question: str) -> str:
    """What follows the documents in a prompt of pooled memories."""
    return f"{documents_question(question)}\nAnswer:"

"""Write the golden files: what Hugging Face transformers answers, as JSON.

Run by hand, when the reference or the embedded model changes, in an environment of its own,
so that the versions it pins do not bind the product's (pip 25.1 or later knows `--group`):

    python3.11 -m venv .venv-golden
    .venv-golden/bin/pip install --group golden
    .venv-golden/bin/python tests/golden/make.py --checkpoint DIR_OF_EMBEDDED_MODEL

All files take a few minutes; `--only beams`, which may be repeated, writes one of them.

`logits.json` holds the tiny random checkpoints of `tests/support/tiny.py`, `embedded.json` the
embedded model's answers to `tiny.QUERIES` as its default task, `tokenizer.json` its tokenizer on
awkward texts, `beams.json` beam searches of both kinds of model (see `beams.py`), `sampling.json`
the distributions that a tiny model's next token is drawn from (see `sampling.py`).
"""

import argparse
import logging
import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel, T5Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))

import beams
import sampling
from reference import PAD, Json, draw, encode, load, load_tiny, suppressed, write

from support import tiny

SEED = 0
PREFIX = "search: "  # of the embedded model's default task: nobody asks it without one

# Encoder and decoder length of each case.
LENGTHS = ((1, 1), (7, 6), (40, 12), (150, 40))

TEXTS = (
    # Nothing, or nothing but blanks.
    "",
    " ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u200b",
    # Blanks around and within words.
    "how to cook rice",
    " how to cook rice",
    "how to cook rice ",
    "  how  to   cook    rice  ",
    "how\tto\tcook\trice",
    "how to\ncook rice\n",
    "how to\r\n\r\ncook rice",
    "how\u00a0to cook\u2009rice\u202fnow",
    "how\u3000to\u2028cook\u2029rice",
    "co\u200bok\u200cri\u200dce\u2060now",
    "a b c d e",
    # Control characters, byte order mark, soft hyphen.
    "\x00",
    "ri\x00ce",
    "ring the bell\x07 now",
    "\x1b[31mred\x1b[0m text",
    "delete\x7fme \x85next",
    "\ufeffhow to cook rice",
    "how to\ufeff cook",
    "co\u00adoperate",
    # Case and words that no vocabulary holds.
    "What Is The Capital Of France?",
    "WHY IS MY WIFI SO SLOW",
    "iPhone vs iPHONE vs IPhone",
    "supercalifragilisticexpialidocious",
    "a" * 300,
    "qzxjv" * 60,
    "antidis" + "establish" * 30 + "ment",
    # Numbers, units, money, dates, codes.
    "1234567890",
    "3.14159 2,718 1e-9 0x1F",
    "$19.99 or \u00a315 or \u20ac17 or \u00a51,200",
    "2024-02-29T23:59:59Z",
    "25\u00b0C = 77\u00b0F, 5\u00b5m, 10m\u00b2",
    "\u00bd cup, \u2153 cup, x\u00b2 + y\u00b3, \u2460 \u2161 \u2122",
    "WF45T6000AW/A-2 rev_b#7",
    # Punctuation, quotes, dashes.
    "\"exact phrase\" 'single' `back`",
    "\u201ccurly\u201d \u2018single\u2019 \u00abguillemets\u00bb",
    "hyphen-minus \u2010 \u2013 \u2014 \u2212 \u2015",
    "wait... what?! (really) [yes] {no}",
    "wait\u2026 50% & more; a/b\\c | d ~ e ^ f",
    "\u00bfD\u00f3nde est\u00e1? \u00a1Aqu\u00ed!",
    "don't can't it's o'clock",
    # Addresses and markup.
    "https://example.com/a/b?q=rice+recipe&lang=en#top",
    "mail someone@example.co.uk about it",
    "<b>bold</b> &amp; <br/>",
    "SELECT * FROM users WHERE id = 1; --",
    # Spellings of special tokens.
    "</s>",
    "<unk>",
    "<pad>",
    "<s>",
    "<extra_id_0>",
    "Hello <extra_id_0> world <extra_id_1>.",
    "what is </s> in html",
    "what is</s>in html",
    "before <pad> after <unk> end",
    "it ends here </s>",
    "</S> < /s> <PAD>",
    # The meta symbol that SentencePiece writes for a space.
    "\u2581",
    "\u2581how\u2581to",
    "how \u2581\u2581 to",
    "snake_case_name __init__",
    # Accents, precomposed and combining, and compatibility forms.
    "caf\u00e9 na\u00efve",
    "cafe\u0301 nai\u0308ve",
    "cr\u00e8me br\u00fbl\u00e9e \u00e0 Krak\u00f3w",
    "z\u0351\u036fa\u0321\u0353l\u0334g\u0330o\u0356",
    "\uff28\uff4f\uff57 \uff54\uff4f \uff11\uff12\uff13\uff1f",
    "\ufb01nd the o\ufb03ce \ufb02oor",
    "stra\u00dfe \u0130stanbul \u0131\u015f\u0131k \u0153uvre",
    # Other scripts and directions.
    "\u4eca\u5929\u5929\u6c14\u600e\u4e48\u6837",
    "\u6771\u4eac\u30bf\u30ef\u30fc\u306e\u9ad8\u3055 \uff76\uff9e",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\u0645\u0627 \u0647\u064a \u0639\u0627\u0635\u0645\u0629 \u0645\u0635\u0631\u061f",
    "\u05de\u05d4 \u05d4\u05e9\u05e2\u05d4?",
    "abc \u200f\u05d0\u05d1\u200e def \u202eghi\u202c",
    "\u0434\u0435\u0448\u0435\u0432\u044b\u0435 \u0431\u0438\u043b\u0435\u0442\u044b",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947",
    # Emoji, and characters beyond the basic plane.
    "\U0001f600",
    "pizza \U0001f355 near me\U0001f60b",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "thumbs \U0001f44d\U0001f3fd up \u2764\ufe0f \U0001f1eb\U0001f1f7",
    "\U0001d54b\U0001d7db \U00020000\U00020001",
    # Runs of unknown characters, alone and inside words.
    "\u0f00\u0f01\u0f02\u0f03",
    "\ue000\ue001 \uffff",
    "ab\u0f00cd \u0f01 ef\u0f02",
    "\ufffd replaced",
)


def main() -> None:
    """Write the files beside this one."""
    names = ("tokenizer", "logits", "embedded", "beams", "sampling")
    parser = argparse.ArgumentParser(description="Write the golden files.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the embedded model")
    parser.add_argument("--only", action="append", choices=names, help="leave the others alone")
    options = parser.parse_args()
    checkpoint: Path = options.checkpoint
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_grad_enabled(mode=False)
    # A sum split over threads depends on how many there are.
    torch.set_num_threads(1)
    # `legacy=True` is what transformers assumes of a checkpoint without tokenizer_config.json.
    # Both settings equal plain SentencePiece on text free of special tokens; they part only
    # after a special token that no blank follows, where the legacy one adds a blank.
    # The embedded vocabulary has no sentinels: their spelling is ordinary text.
    tokenizer = T5Tokenizer(str(checkpoint / "spiece.model"), extra_ids=0, legacy=True)
    for name in options.only or names:
        write(f"{name}.json", document(name, checkpoint, tokenizer))


def document(name: str, checkpoint: Path, tokenizer: T5Tokenizer) -> Json:
    """Return what one file holds."""
    queries = [PREFIX + query for query in tiny.QUERIES.read_text(encoding="utf-8").splitlines()]
    match name:
        case "tokenizer":
            return {"cases": [tokenize(tokenizer, text) for text in TEXTS]}
        case "logits":
            return {"flavours": {flavour: logits(flavour) for flavour in tiny.FLAVOURS}}
        case "embedded":
            model = load(checkpoint)
            return {
                "cases": [answer(model, tokenizer, query) for query in queries],
                "first_step": [first_step(model, tokenizer, query) for query in queries[:5]],
            }
        case "beams":
            return {
                "tiny": beams.tiny_cases(),
                "embedded": beams.embedded_cases(load(checkpoint), tokenizer, queries),
            }
        case "sampling":
            return sampling.document()
        case _:
            raise ValueError(name)


def tokenize(tokenizer: T5Tokenizer, text: str) -> Json:
    """Return the ids of a text with its end mark, and the text that the ids stand for."""
    ids = tokenizer(text).input_ids
    return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}


def logits(flavour: str) -> Json:
    """Run a tiny checkpoint on random ids, teacher-forced and greedy."""
    model = load_tiny(flavour)
    # An input of `wo` above float16's range is what turns half-precision T5 into NaN.
    peaks: list[float] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: peaks.append(args[0].abs().max().item()))
        for name, module in model.named_modules()
        if name.endswith("DenseReluDense.wo")
    ]
    # Each flavour gets the same ids.
    torch.manual_seed(SEED)
    cases = [teacher_forced(model, *lengths) for lengths in LENGTHS]
    for hook in hooks:
        hook.remove()
    for case in cases:
        case["greedy"] = greedy(model, case["encoder_ids"], tokens=12, pieces=tiny.PIECES)
    return {"max_ffn_down_input": max(peaks), "cases": cases}


def teacher_forced(model: PreTrainedModel, encoder: int, decoder: int) -> Json:
    """Return the logits, as base64 of little-endian float32, of ids drawn at these lengths."""
    encoder_ids = draw(model, encoder)
    decoder_ids = [PAD, *draw(model, decoder)[:-1]]
    output = model(
        input_ids=torch.tensor([encoder_ids]), decoder_input_ids=torch.tensor([decoder_ids])
    ).logits[0]
    return {
        "encoder_ids": encoder_ids,
        "decoder_ids": decoder_ids,
        "shape": list(output.shape),
        "logits": encode(output),
    }


def greedy(model: PreTrainedModel, ids: list[int], *, tokens: int, pieces: int) -> Json:
    """Decode greedily among ordinary pieces and the end mark.

    `logprob` sums log-probabilities over the whole vocabulary. `gap` is the smallest difference
    between the best two allowed logits: an implementation whose error is below half of it must
    give the same ids.
    """
    never = suppressed(model, pieces)
    output = model.generate(
        torch.tensor([ids]),
        do_sample=False,
        num_beams=1,
        max_new_tokens=tokens,
        suppress_tokens=never,
        return_dict_in_generate=True,
        output_logits=True,
    )
    chosen = output.sequences[0, 1:]
    scores = torch.cat(output.logits)
    logprob = scores.double().log_softmax(-1).gather(-1, chosen[:, None]).sum().item()
    scores[:, never] = -torch.inf
    best = scores.topk(2).values
    gap = (best[:, 0] - best[:, 1]).min().item()
    return {"ids": chosen.tolist(), "logprob": round(logprob, 6), "gap": round(gap, 6)}


def answer(model: PreTrainedModel, tokenizer: T5Tokenizer, query: str) -> Json:
    """Return what the embedded model makes of a query."""
    prompt = tokenizer(query).input_ids
    output = greedy(model, prompt, tokens=48, pieces=len(tokenizer))
    text = tokenizer.decode(output["ids"], skip_special_tokens=True).strip()
    return {"query": query, "prompt_ids": prompt, "text": text, **output}


def first_step(model: PreTrainedModel, tokenizer: T5Tokenizer, query: str) -> Json:
    """Return the ten most probable first tokens, none suppressed."""
    output = model(**tokenizer(query, return_tensors="pt"), decoder_input_ids=torch.tensor([[PAD]]))
    best = output.logits[0, 0].double().log_softmax(-1).topk(10)
    logprobs = [round(value, 6) for value in best.values.tolist()]
    return {"query": query, "ids": best.indices.tolist(), "logprobs": logprobs}


if __name__ == "__main__":
    main()

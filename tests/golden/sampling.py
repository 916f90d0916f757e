"""The distribution of the next token, in many sampling configurations.

`generate` applies, of what the cases use, in this order (transformers 4.56.2,
generation/utils.py, `_get_logits_processor`, lines 1083-1310; classes in logits_process.py):

1. sequence_bias (1115): adds its bias to the logit;
2. repetition_penalty (1143): of every token in the prefix, once however often it occurs, a
   negative logit is multiplied by the penalty and any other divided by it;
3. no_repeat_ngram_size (1145): tokens that would repeat an n-gram of the prefix get -inf;
4. suppress_tokens (1227): -inf; further processors of the caller follow (1249);
5. temperature (1268), unless 1.0;
6. top_k (1270), unless 0: what is below the k-th best gets -inf; ties with it stay. If top_k is
   not given it is 50;
7. top_p (1274), unless 1.0: the smallest set of best tokens that reaches top_p stays, by the
   softmax of what the steps above have left;
8. min_p (1279): tokens less probable than min_p times the best one get -inf, likewise by the
   softmax of what is left;
9. typical_p (1282), unless 1.0: the tokens whose -log p is nearest to the entropy stay, as many as
   reach typical_p.

`_sample` then draws from the softmax (2910). The prefix includes its start token, id 0: 2 and 3
see it, but it shows nowhere, as padding is suppressed and so occurs no second time.

`prefixes` holds, by name, the decoder's ids and the raw logits behind the last; each case the
options that differ from plain sampling (top_k 0) and the `probabilities` of the tokens below
`pieces`; all others are suppressed, and so are padding and the unknown piece. Logits and
probabilities are base64 of little-endian float32.
"""

import torch
from reference import Json, draw, encode, load_tiny, suppressed
from transformers import PreTrainedModel

from support import tiny

# Its head favours the last token of the prefix, so that a ban on repeating it changes much.
FLAVOUR = "tied_relu"

SEED = 2

ENCODER_LENGTH = 9

PREFIXES = {
    "start": [0],
    # 60 and 70 have followed 60, and 60 the pair 50, 60. The logits of 20 and 120 are negative.
    "repeats": [0, 20, 50, 60, 60, 70, 120, 50, 60],
}

# A negative logit becomes positive, a positive one negative, which the repetition penalty sees;
# the other two are the end mark and a piece that is not in the prefix.
BIAS = [[[120], 3.0], [[60], -5.0], [[1], 2.0], [[90], 0.5]]

ALL: Json = {
    "sequence_bias": BIAS,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 3,
    "temperature": 0.5,
    "top_k": 50,
    "top_p": 0.9,
    "min_p": 0.3,
}

OPTIONS: tuple[Json, ...] = (
    {},
    {"temperature": 0.5},
    {"temperature": 1.0},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 50},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"top_p": 0.99},
    {"min_p": 0.05},
    {"min_p": 0.3},
    {"typical_p": 0.05},
    {"typical_p": 0.3},
    {"typical_p": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 1.8},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"sequence_bias": BIAS},
    # Two of which the order shows.
    {"temperature": 0.5, "top_p": 0.9},
    {"temperature": 1.7, "top_p": 0.3},
    {"temperature": 1.7, "min_p": 0.3},
    {"top_k": 5, "top_p": 0.3},
    {"top_k": 50, "top_p": 0.9},
    {"top_k": 5, "min_p": 0.3},
    {"top_p": 0.9, "min_p": 0.05},
    {"repetition_penalty": 1.3, "temperature": 0.5},
    {"repetition_penalty": 1.8, "top_k": 5},
    {"repetition_penalty": 1.8, "top_p": 0.3},
    {"no_repeat_ngram_size": 1, "top_k": 5},
    {"no_repeat_ngram_size": 2, "top_p": 0.3},
    {"no_repeat_ngram_size": 3, "min_p": 0.3},
    {"temperature": 0.5, "typical_p": 0.3},
    {"top_k": 5, "typical_p": 0.9},
    {"top_p": 0.9, "typical_p": 0.3},
    {"min_p": 0.05, "typical_p": 0.9},
    {"sequence_bias": BIAS, "repetition_penalty": 1.8},
    {"sequence_bias": BIAS, "no_repeat_ngram_size": 2},
    {"sequence_bias": BIAS, "temperature": 0.5},
    # All, and all but one or two.
    ALL,
    ALL | {"no_repeat_ngram_size": 1, "temperature": 1.7, "min_p": 0.05},
    ALL | {"repetition_penalty": 1.8, "top_k": 5, "top_p": 0.99},
    ALL | {"top_k": 0, "no_repeat_ngram_size": 2, "min_p": 0.05},
    ALL | {"typical_p": 0.9},
    ALL | {"top_k": 0, "top_p": 1.0, "typical_p": 0.3},
    {option: value for option, value in ALL.items() if option != "min_p"},
    {option: value for option, value in ALL.items() if option != "top_p"},
)

# Of these the first token, too, has something to show.
AT_START: tuple[Json, ...] = (
    {},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 1},
    {"sequence_bias": BIAS, "temperature": 0.5, "top_k": 50, "top_p": 0.9, "min_p": 0.05},
)


def document() -> Json:
    """Return what sampling.json holds."""
    model = load_tiny(FLAVOUR)
    torch.manual_seed(SEED)
    encoder_ids = draw(model, ENCODER_LENGTH)
    wanted = [("start", option) for option in AT_START]
    wanted += [("repeats", option) for option in OPTIONS]
    return {
        "flavour": FLAVOUR,
        "encoder_ids": encoder_ids,
        "pieces": tiny.PIECES,
        "prefixes": {
            name: {"decoder_ids": ids, "logits": encode(logits(model, encoder_ids, ids))}
            for name, ids in PREFIXES.items()
        },
        "cases": [
            {
                "prefix": name,
                "kwargs": kwargs,
                "probabilities": encode(
                    distribution(model, encoder_ids, PREFIXES[name], {"top_k": 0} | kwargs)
                ),
            }
            for name, kwargs in wanted
        ],
    }


def logits(model: PreTrainedModel, encoder_ids: list[int], decoder_ids: list[int]) -> torch.Tensor:
    output = model(
        input_ids=torch.tensor([encoder_ids]), decoder_input_ids=torch.tensor([decoder_ids])
    )
    return output.logits[0, -1]


def distribution(
    model: PreTrainedModel, encoder_ids: list[int], decoder_ids: list[int], kwargs: Json
) -> torch.Tensor:
    """Let `generate` draw one token, and return what it drew from."""
    output = model.generate(
        torch.tensor([encoder_ids]),
        decoder_input_ids=torch.tensor([decoder_ids]),
        do_sample=True,
        max_new_tokens=1,
        suppress_tokens=suppressed(model, tiny.PIECES),
        return_dict_in_generate=True,
        output_scores=True,
        **kwargs,
    )
    probabilities = output.scores[0][0].softmax(-1)
    if probabilities[tiny.PIECES :].any():
        raise ValueError(kwargs)
    return probabilities[: tiny.PIECES]

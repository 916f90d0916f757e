"""What one generation is asked to do, under Hugging Face's names."""

from __future__ import annotations

from typing import Literal

import msgspec

MOST = 100.0  # of every real parameter: far beyond use, and F32 scores stay finite
HUGE = 2**31  # of every integer: messages have 64 bits
MAX_WIDTH = 20  # sequences of one generation: OpenAI's limit for best_of


class GenerationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parameters of one generation; the defaults change nothing.

    Beams (`num_beams` > 1) search without sampling; groups of them make the search diverse.
    Presence and frequency penalties are OpenAI's, the rest is Hugging Face's.

    Attributes:
        max_tokens: most tokens of a sequence, `</s>` included (Hugging Face's max_new_tokens).
        early_stopping: True: once as many sequences have ended as there are beams; False: once no
            running one is likely to become better; "never": once none can.
        temperature: 0 takes the most likely token.
        top_k: 0 keeps all.
        logit_bias: by token id, added to the logits.
        seed: None draws one.
        top_logprobs: how many alternatives to report for each token; None: no log-probabilities.
    """

    max_tokens: int
    do_sample: bool = False
    num_beams: int = 1
    num_beam_groups: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    diversity_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        """Refuses what can't be done, with a ValueError that names the parameter."""
        faults = [
            name
            for name, holds in (
                ("max_tokens", self.max_tokens >= 1),
                ("num_beams", 1 <= self.num_beams <= MAX_WIDTH),
                ("num_return_sequences", 1 <= self.num_return_sequences <= MAX_WIDTH),
                ("num_beam_groups", 1 <= self.num_beam_groups <= self.num_beams),
                ("length_penalty", abs(self.length_penalty) <= MOST),
                ("diversity_penalty", 0 <= self.diversity_penalty <= MOST),
                ("temperature", 0 <= self.temperature <= MOST),
                ("top_k", 0 <= self.top_k < HUGE),
                ("top_p", 0 < self.top_p <= 1),
                ("min_p", 0 <= self.min_p <= 1),
                ("repetition_penalty", 1 / MOST <= self.repetition_penalty <= MOST),
                ("presence_penalty", abs(self.presence_penalty) <= MOST),
                ("frequency_penalty", abs(self.frequency_penalty) <= MOST),
                ("no_repeat_ngram_size", 0 <= self.no_repeat_ngram_size < HUGE),
                ("logit_bias", all(abs(bias) <= MOST for bias in self.logit_bias.values())),
                ("seed", self.seed is None or 0 <= self.seed < 2**63),
                ("top_logprobs", self.top_logprobs is None or self.top_logprobs >= 0),
            )
            if not holds
        ]
        if faults:
            raise ValueError(f"out of range: {', '.join(faults)}")
        if self.num_beams % self.num_beam_groups:
            raise ValueError("num_beams must be a multiple of num_beam_groups")
        if self.num_beams > 1 and self.do_sample:
            raise ValueError("beams are searched, not sampled: num_beams and do_sample exclude")
        if self.num_beams > 1 and self.num_return_sequences > self.num_beams:
            raise ValueError("num_return_sequences is more than num_beams")
        if self.num_beams == 1 and not self.do_sample and self.num_return_sequences > 1:
            raise ValueError("greedy decoding gives one sequence: num_return_sequences must be 1")
        if self.num_beam_groups > 1 and not self.diversity_penalty:
            raise ValueError("beam groups need a diversity_penalty above 0, or all find the same")

    @property
    def width(self) -> int:
        """Sequences that are decoded side by side."""
        return max(self.num_beams, self.num_return_sequences)

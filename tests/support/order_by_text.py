"""docs/order.md, section by section: the whole epoch as a list, sharing no line with the package."""

# ruff: noqa: N803, N806 (the letters of docs/order.md)

from __future__ import annotations

import hashlib
import itertools

U64 = 2**64


def doc_mix(x):
    x = (x + 0x9E3779B97F4A7C15) % U64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % U64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % U64
    return x ^ x >> 31


def doc_permutation(K, m, n):  # §2, §3
    k = [doc_mix(K ^ doc_mix(8 * m + i)) for i in range(6)]
    h = 1
    while 4**h < n:
        h += 1

    def permute(x):
        if n == 1:
            return 0
        while True:
            left, right = divmod(x, 2**h)
            for key in k:
                left, right = right, left ^ doc_mix(right ^ key) % 2**h
            x = left * 2**h + right
            if x < n:
                return x

    return permute


def doc_key(tag, root, *numbers):
    numbers = b"".join(number.to_bytes(8, "little") for number in numbers)
    return int.from_bytes(hashlib.sha256(tag + b"\x00" + root + numbers).digest()[:8], "little")


def doc_lanes(sequence, L):
    base, rem = divmod(len(sequence), L)
    lengths = [base + (lane < rem) for lane in range(L)]
    return [sequence[sum(lengths[:lane]) :][: lengths[lane]] for lane in range(L)]


def doc_runs(sequence, R):
    return [sequence[at : at + R] for at in range(0, len(sequence), R)]


def doc_order_1(root, seed, epoch, N, R, B, L):
    """The whole epoch as a list, by laying the runs out: §8 without its arithmetic."""
    K = doc_key(b"holdfast/order/v1", root, seed, epoch, N, R, B, L)
    runs = doc_runs(list(range(N)), R)
    pi = doc_permutation(K, 0, len(runs))
    slots = [runs[pi(t)] for t in range(len(runs))]
    sigma = []
    for b, at in enumerate(range(0, len(slots), B)):
        inside = list(itertools.chain.from_iterable(slots[at : at + B]))
        beta = doc_permutation(K, b + 1, len(inside))
        sigma += [inside[beta(j)] for j in range(len(inside))]
    lanes = doc_lanes(sigma, L)
    return [lanes[p % L][p // L] for p in range(N)]


def doc_order_2(root, seed, epoch, N, R, B, L, S):
    """The same of §4 and §5."""
    K = doc_key(b"holdfast/order/v2", root, seed, epoch, N, R, B, L, S)
    stretches = doc_runs(list(range(N)), S * R)
    whole = [stretch for stretch in stretches if len(stretch) == S * R]
    pi = doc_permutation(K, 0, len(whole))
    tau = [sample for t in range(len(whole)) for sample in whole[pi(t)]]
    lanes = doc_lanes(tau + stretches[-1] if len(whole) < len(stretches) else tau, L)
    C = max(-(-len(lane) // (B * R)) for lane in lanes) + 1
    shuffled = []
    begin = 0
    for number, lane in enumerate(lanes):
        cut = -begin % R  # where the first whole run begins
        begin += len(lane)
        head, *runs = [lane[:cut], *doc_runs(lane[cut:], R)]
        full = [run for run in runs if len(run) == R]
        rho = doc_permutation(K, 1 + number, len(full))
        slots = [full[rho(t)] for t in range(len(full))] + runs[len(full) :]
        shuffled.append([])
        early = number * B // L
        for b, at in enumerate(range(-early, len(slots), B) if slots else [0]):
            inside = list(itertools.chain.from_iterable(slots[max(0, at) : at + B]))
            inside = head + inside if b == 0 else inside
            beta = doc_permutation(K, 1 + L + number * C + b, len(inside))
            shuffled[-1] += [inside[beta(j)] for j in range(len(inside))]
    return [shuffled[p % L][p // L] for p in range(N)]


def doc_sequence(version, stretch, *about):
    return doc_order_1(*about) if version == 1 else doc_order_2(*about, stretch)

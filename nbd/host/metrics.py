"""Figures as the text that Prometheus reads: its own client writes it."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

from ..notebooks.figures import Figure

disable_created_metrics()  # type: ignore[no-untyped-call]


def exposition(figures: Iterable[Figure]) -> str:
    registry = CollectorRegistry()
    for figure in figures:
        if figure.counts:
            counter = Counter(figure.name, figure.help, figure.labels, registry=registry)
            for labels, value in figure.values:
                counter.labels(*labels).inc(value)
        else:
            gauge = Gauge(figure.name, figure.help, figure.labels, registry=registry)
            for labels, value in figure.values:
                gauge.labels(*labels).set(value)
    return generate_latest(registry).decode()

"""Figures as the text that Prometheus reads: its own client writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..notebooks.figures import Figure


class Fixed(Collector):
    """Gives what it was given."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for figure in self._figures:
            kind = CounterMetricFamily if figure.counts else GaugeMetricFamily
            family = kind(figure.name, figure.help, labels=list(figure.labels))
            for labels, value in figure.values:
                family.add_metric(list(labels), value)
            yield family


def exposition(figures: Iterable[Figure]) -> str:
    registry = CollectorRegistry()
    registry.register(Fixed(list(figures)))
    return generate_latest(registry).decode()

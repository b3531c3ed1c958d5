"""A world that takes most over from the one before is the world as it is."""

from msgspec.structs import replace
from tests.machine.test_fleet_walks import Walker

from pointsman.fleet.views import WorldView

WALKS, MOVES = 6, 300


def test_a_world_taken_over_in_part_equals_one_made_anew() -> None:
    for seed in range(WALKS):
        walker, view = Walker(seed), WorldView()
        for _ in range(MOVES):
            walker.move()
            found = view.at(walker.state, walker.now_s, {})
            assert replace(found, ticket=1) == WorldView().at(walker.state, walker.now_s, {})
        walker.teardown()

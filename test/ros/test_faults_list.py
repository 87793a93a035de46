"""What a node that runs for a week has to survive, and the tests over the real node that show it. The list is kept
honest: each test that it names exists, and each test of the files test_faults_*.py stands in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

#: Fault -> file without "test_" and ".py": tests.
FAULTS: dict[str, dict[str, list[str]]] = {
    "a publisher dies and returns": {
        "inputs": ["a_publisher_dies_and_returns_with_another_reliability"],
        "faults_camera": ["a_camera_process_that_is_killed_and_another_with_another_reliability"],
    },
    "camera_info changes": {
        "inputs": ["a_camera_that_is_zoomed_in_mid_stream_counts_and_starts_anew_with_its_new_camera_info"],
        "bad_input": ["a_camera_info_of_another_size", "the_frame_size_changes_in_mid_stream", "missing_camera_info"],
        "faults_camera": [
            "a_camera_info_that_becomes_invalid_and_valid_again",
            "a_camera_info_that_stops_coming_is_the_last_one",
        ],
    },
    "time jumps back": {
        "bad_input": ["stamps_that_go_back", "repeated_stamps"],
        "lifecycle": ["a_clock_that_goes_back_starts_a_new_history"],
        "faults_time": [
            "a_bag_that_loops_with_its_clock",
            "a_bag_that_loops_without_its_clock",
            "a_picture_from_the_far_future_costs_only_itself",
        ],
    },
    "use_sim_time without /clock, or with one that stands still": {
        "faults_time": ["use_sim_time_without_a_clock", "a_clock_that_stands_still"],
    },
    "the model raises once": {
        "node": ["an_error_in_the_model_costs_one_clip"],
        "degraded": ["failures_that_are_not_in_a_row_do_not_degrade"],
        "faults_model": ["a_capture_outlives_one_failure"],
    },
    "the model raises always": {
        "degraded": [
            "a_model_that_always_raises_is_left_alone_for_a_while_and_tried_again",
            "the_waits_grow_and_end_at_half_a_minute",
        ],
        "faults_model": ["a_capture_while_the_model_fails_says_so_in_time"],
    },
    "the model hangs, or takes long": {
        "node": ["a_slow_model_drops_old_frames_and_blocks_nothing"],
        "degraded": ["a_model_that_hangs_is_never_used_by_two_threads"],
        "faults_model": [
            "diagnostics_services_and_subscriptions_go_on_during_a_long_call_of_the_model",
            "a_capture_does_not_wait_for_a_model_that_hangs",
            "a_model_that_hangs_is_replaced_by_a_new_one",
        ],
    },
    "the GPU's memory is too small": {
        "options": ["a_full_gpu_is_told_once_and_the_stream_goes_on"],
        "faults_model": [
            "a_gpu_that_is_too_small_steps_down_says_so_and_stays_down",
            "a_gpu_that_has_nothing_left_to_give_up_degrades_with_the_remedy_and_recovers",
        ],
    },
    "a subscriber is slower than the publisher, leaves, or dies": {
        "node": ["without_a_reader_nothing_is_computed"],
        "faults_readers": [
            "a_reader_that_never_takes_then_stops_then_dies",
            "a_reader_that_leaves_and_comes_back_at_90_hz_gets_no_old_picture",
        ],
        "capture": ["a_settled_estimate_is_kept_for_readers_that_come_later"],
    },
    "a storm of parameters, and any value": {
        "changes": ["a_storm_of_parameters_neither_stalls_nor_grows"],
        "faults_parameters": ["any_value_of_any_parameter"],
    },
    "thirty cycles of the lifecycle": {
        "cycles": ["no_thread_file_or_entity_is_left_behind", "no_memory_is_left_behind"],
        "lifecycle": ["through_all_states_twice_from_outside"],
    },
    "a signal in every state": {
        "ending": [
            "unconfigured",
            "while_the_model_is_being_loaded",
            "after_a_failed_start_the_node_stays_and_says_what_to_do",
            "inactive",
            "active_without_input",
            "with_a_clip_in_work_that_never_ends",
            "with_a_capture_in_progress",
            "degraded",
        ],
        "faults_ending": ["a_signal", "an_impatient_user_presses_ctrl_c_twice"],
    },
    "malformed messages": {
        "malformed": ["images", "camera_infos", "compressed_images", "clouds_that_the_grasp_node_reads"],
        "bad_input": ["wrong_encoding", "a_picture_with_too_few_bytes", "all_invalid_depth"],
        "faults_clouds": ["every_good_cloud_after_bad_ones_is_planned"],
        "grasp_node": ["a_bad_cloud_is_named_counted_and_survived"],
        "faults_malformed": [
            "every_good_picture_after_bad_messages_is_answered",
            "damaged_bytes_on_the_wire_cost_only_themselves",
        ],
    },
    "topics come late, go, or change their kind": {
        "inputs": ["another_type_on_the_image_topic_is_named"],
        "faults_camera": [
            "depth_that_comes_later_goes_and_returns",
            "a_mask_that_appears",
            "a_picture_topic_that_goes_on_compressed_and_raw_again",
            "a_second_publisher_on_the_image_topic_is_no_disaster",
        ],
    },
    "one after the other in any order": {"faults_chaos": ["after_any_mishaps_a_good_stream_is_answered"]},
    "other names, several nodes": {
        "faults_names": ["two_nodes_side_by_side", "remedies_name_the_node_as_it_is_called"],
    },
}
HERE = Path(__file__).parent


def names_in(file: str) -> set[str]:
    """Names of the tests, without "test_"."""
    tree = ast.parse((HERE / f"test_{file}.py").read_text())
    found = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    return {name.removeprefix("test_") for name in found if name.startswith("test_")}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_test_that_is_named_exists(fault):
    for file, names in FAULTS[fault].items():
        assert set(names) <= names_in(file), file


def test_every_fault_that_is_tested_is_named():
    for path in HERE.glob("test_faults_*.py"):
        file = path.stem.removeprefix("test_")
        if path != Path(__file__):
            named = [name for files in FAULTS.values() for name in files.get(file, [])]
            assert sorted(named) == sorted(names_in(file))

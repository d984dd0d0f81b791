//! What the live seam promises: inside one process, on one Redis, and on a Redis Cluster.

pub mod changes;
pub mod ears;
pub mod order;
pub mod presence;
pub mod settling;
pub mod shown;
pub mod side;
pub mod stream;
pub mod turns;

pub use side::{LiveUnderTest, Side, TIMINGS};

/// `live_suite!(name, engine)`: a module of this name with each story as a test of the engine, a
/// [`LiveUnderTest`](crate::live::LiveUnderTest).
#[macro_export]
macro_rules! live_suite {
    ($side:ident, $engine:expr) => {
        $crate::live_suite! { @ $side, $engine,
            order {
                fifty_appenders_on_two_processes_make_one_strict_order,
                a_message_sent_again_keeps_its_place_and_its_first_text,
                an_id_of_another_sender_is_taken,
                the_same_id_in_another_room_is_another_message,
                a_cold_room_waits_for_its_floor,
                a_floor_is_where_a_cold_room_goes_on,
                a_frame_is_what_a_message_says_of_itself_at_any_time,
                several_take_their_places_together_and_in_their_order,
                a_cold_room_takes_none_of_several,
                what_was_made_before_anything_is_remembered_is_looked_up_first,
            }
            stream {
                a_tail_is_what_came_after_a_place,
                a_tail_says_whether_it_links_up,
                a_message_is_found_by_its_id,
                young_messages_stay_and_old_ones_go_beyond_a_thousand,
                a_stream_and_its_ids_have_a_limit,
                a_silent_room_is_forgotten,
                an_erased_room_knows_nothing_and_takes_nothing,
                what_is_old_leaves_the_stream_and_the_order_goes_on,
            }
            shown {
                what_is_appended_after_subscribing_is_shown,
                a_signal_is_shown_and_not_kept,
                a_control_reaches_every_process,
                after_unsubscribing_nothing_comes,
                rooms_come_and_go_at_will,
                a_slow_reader_is_told_one_gap_and_then_goes_on,
                a_slow_reader_that_catches_up_misses_nothing,
                a_line_that_nobody_reads_is_closed,
            }
            presence {
                who_is_there_is_the_union_of_all_processes,
                nothing_is_shown_when_nothing_changed,
                who_was_on_a_dead_process_is_gone_after_a_while,
                a_presence_has_a_limit,
            }
            settling {
                a_message_makes_its_room_unsettled_until_it_is_settled,
                a_message_that_comes_meanwhile_keeps_its_room_unsettled,
                nothing_that_comes_while_settling_is_overlooked,
                a_room_is_looked_at_by_one_process_at_a_time,
                with_another_server_what_was_settled_is_compared_again,
            }
            changes {
                an_event_has_its_place_among_the_messages_and_is_shown,
                a_deletion_takes_the_text_of_the_message_and_of_its_edits,
                what_is_left_of_a_stopped_reply_that_is_deleted_is_what_it_answered,
                what_has_become_of_a_message_is_told_by_its_id,
                what_is_deleted_changes_no_more,
                what_the_store_has_as_deleted_is_taken_out_of_the_stream,
                an_edit_of_a_question_ends_its_answer_and_no_other,
                another_answer_to_an_edited_question_ends_as_well,
                a_deletion_ends_every_answer_that_may_have_been_told_the_text,
            }
            turns {
                the_first_question_has_the_turn_whoever_lines_up_first,
                whoever_lost_the_turn_can_neither_post_nor_draft,
                a_turn_that_nobody_else_took_is_renewed_after_it_lapsed,
                a_place_that_nobody_comes_to_is_kept_for_a_while,
                all_that_nobody_has_in_hand_are_waited_for_at_once,
                a_turn_is_given_back_with_or_without_the_place,
                whoever_cannot_wait_posts_out_of_turn,
                a_draft_is_kept_as_it_grows_and_goes_with_its_reply,
                whoever_comes_while_the_model_thinks_is_told_so,
                how_many_are_before_a_request_is_known,
                replies_stand_in_the_order_of_their_questions_whoever_dies,
                questions_and_replies_may_take_their_places_with_others,
            }
        }
    };
    (@ $side:ident, $engine:expr, $($chapter:ident { $($story:ident),+ $(,)? })+) => {
        mod $side {
            use super::*;
            $(mod $chapter {
                use super::*;
                $(
                    #[tokio::test(flavor = "multi_thread")]
                    async fn $story() {
                        let side = $crate::live::Side::fresh($engine).await;
                        $crate::live::$chapter::$story(side).await;
                    }
                )+
            })+
        }
    };
}

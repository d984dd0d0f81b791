//! What every side of the store promises, told on SQLite in a folder of its own and on a real MySQL server.

pub mod accounts;
pub mod changes;
pub mod identities;
pub mod messages;
pub mod people;
pub mod removals;
pub mod retention;
pub mod rooms;
pub mod side;
pub mod tokens;

pub use side::{Side, StoreUnderTest};

/// `store_suite!(name, engine)`: a module of this name with each story as a test of the engine, a
/// [`StoreUnderTest`](crate::store::StoreUnderTest).
#[macro_export]
macro_rules! store_suite {
    ($side:ident, $engine:expr) => {
        $crate::store_suite! { @ $side, $engine,
            accounts {
                a_user_comes_with_a_room_of_their_own,
                a_taken_name_is_refused_and_nothing_is_left_behind,
                users_must_not_look_the_same,
                a_name_nobody_can_have_is_not_found,
                of_many_who_want_a_name_one_gets_it,
                a_session_holds_until_it_expires,
                a_user_lists_and_ends_their_own_sessions,
                using_a_session_puts_off_its_end,
                a_session_has_a_longest_life_however_much_it_is_used,
                beyond_so_many_sessions_the_longest_unused_end,
                a_password_that_was_changed_while_it_was_looked_at_lets_nobody_in,
                a_device_is_known_to_who_logged_in_on_it,
                what_has_expired_is_swept,
            }
            changes {
                an_event_has_a_place_of_its_own_and_changes_its_message,
                edits_and_a_deletion_come_to_the_same_in_any_order_and_any_batches,
                what_comes_again_changes_nothing_once_more,
                writers_at_the_same_time_leave_no_text_of_what_is_deleted,
                what_the_stream_has_erased_is_stored_without_its_text,
                a_text_that_was_taken_away_is_no_conflict,
                an_event_under_the_id_of_something_else_is_a_conflict,
                an_event_changes_its_own_room_alone,
                many_deletions_since_the_oldest_of_a_batch_are_all_honoured,
                an_event_that_can_never_be_written_is_rejected_and_changes_nothing,
                what_one_has_written_is_read_page_by_page,
                sums_over_replies_are_the_same_when_all_is_deleted,
                what_an_answer_stands_on_is_kept_with_it_and_goes_with_it,
            }
            messages {
                what_is_written_is_read_back_in_order,
                pages_go_back_and_forth_without_a_gap,
                an_empty_room_has_no_past,
                what_is_written_again_is_left_as_it_was,
                only_what_is_missing_of_a_batch_is_written,
                a_batch_may_hold_a_message_twice,
                an_id_with_two_places_is_stored_once,
                a_place_that_another_has_is_a_conflict_and_is_told,
                an_id_that_another_message_has_is_a_conflict_and_is_told,
                conflicts_are_told_by_their_positions_in_the_batch,
                an_id_of_another_room_suppresses_nothing,
                any_text_is_kept_to_the_letter,
                a_row_that_cannot_be_written_is_rejected_with_its_whole_batch,
                batches_of_any_size_are_written,
                how_a_reply_came_about_is_kept_with_it,
                who_stopped_a_reply_is_told_with_it,
                what_was_deleted_is_told_by_when_it_was,
                what_was_asked_of_models_is_summed_by_day_room_user_and_model,
                what_exists_is_told_by_its_ids,
                a_write_that_is_cut_off_is_whole_or_not_there,
            }
            people {
                an_invitation_lets_so_many_in_and_no_more,
                of_two_who_come_with_the_last_use_one_gets_in,
                an_invitation_is_worth_what_its_maker_may,
                the_servers_own_invitation_is_for_the_first_administrator,
                an_invitation_may_make_one_a_member_of_a_room,
                who_makes_and_withdraws_invitations_comes_to_an_end,
                a_new_password_ends_the_other_sessions,
                a_link_sets_a_new_password_once,
                a_disabled_account_has_no_session_and_gets_none,
                the_last_administrator_stays,
                a_deleted_account_leaves_its_name_and_nothing_else,
                who_did_what_to_whom_is_in_the_log,
                who_leaves_with_their_messages_is_followed_by_one_process_at_a_time,
                what_is_a_program_is_told_and_the_bot_answers_it_where_the_room_says_so,
            }
            identities {
                an_identity_leads_into_one_account,
                who_comes_by_an_invitation_and_an_identity_uses_both_or_none,
                of_many_who_come_with_one_identity_one_account_is_made,
                an_identity_is_linked_by_whoever_is_in_the_account,
                the_last_way_into_an_account_stays,
                an_administrator_takes_any_way_in_and_is_told_what_is_left,
                a_link_to_reset_takes_away_every_other_way_in,
                an_identity_outlasts_its_account,
                a_log_in_comes_back_once,
            }
            removals {
                a_deleted_room_goes_with_all_that_was_said_in_it,
                the_name_of_a_deleted_room_is_nobodys,
                a_room_is_deleted_by_its_owner_or_an_administrator,
                a_deleted_room_is_looked_through_by_one_at_a_time_and_ever_more_seldom,
                whoever_hands_rooms_over_makes_no_more_within_an_hour,
                whoever_deletes_rooms_makes_no_more_within_an_hour,
            }
            retention {
                what_is_old_goes_in_small_steps_and_is_read_no_more,
                what_is_gone_stays_gone_whatever_is_set_later,
                whoever_keeps_it_for_longer_is_heeded_at_once,
                the_database_has_a_clock,
                an_edit_is_as_old_as_its_own_place,
                a_page_of_rooms_is_told_to_one_process,
                a_room_that_was_deleted_meanwhile_is_left_alone,
                a_list_of_rooms_tells_nothing_of_what_is_gone,
                a_stream_is_to_be_trimmed_until_it_is,
                old_days_leave_the_log_of_replies,
            }
            tokens {
                a_token_holds_until_it_expires_or_is_revoked,
                a_token_of_a_disabled_account_is_worth_nothing,
                a_session_that_has_ended_makes_no_token,
                nobody_has_more_tokens_than_one_may,
            }
            rooms {
                a_room_is_as_it_was_made_and_changed,
                changes_of_different_things_at_the_same_moment_are_all_kept,
                a_rooms_name_is_its_own_and_no_users,
                a_room_must_not_look_like_a_user_nor_a_user_like_a_room,
                a_room_that_an_older_program_made_has_a_look_in_the_end,
                a_private_room_is_seen_by_its_owner_and_members_alone,
                a_room_that_turns_private_vanishes_for_strangers,
                a_user_sees_their_own_rooms_first_then_public_ones,
                a_list_is_read_page_by_page,
                a_list_tells_each_rooms_latest_message,
                a_list_tells_what_is_not_read_yet,
                a_mark_of_what_was_read_never_goes_back,
                an_invitation_stands_until_it_is_taken,
                who_declines_is_asked_again_but_not_for_ever,
                nobodys_list_is_filled_with_invitations,
                new_accounts_fill_half_of_a_list_of_invitations,
                nobody_invites_the_whole_town,
                members_come_and_go,
                a_room_is_handed_over_to_a_member_who_said_yes,
                an_administrator_hands_a_room_over_to_anybody_who_is_not_disabled,
                rights_that_were_lost_a_moment_ago_are_worth_nothing,
                of_many_hand_overs_at_once_one_is_done,
                who_is_banned_neither_sees_a_room_nor_is_invited,
                nobody_owns_more_rooms_than_one_may,
                nobody_makes_more_rooms_within_an_hour_than_one_may,
                no_room_has_more_members_than_one_may,
            }
        }
    };
    (@ $side:ident, $engine:expr, $($chapter:ident { $($story:ident),+ $(,)? })+) => {
        mod $side {
            use super::*;
            $(mod $chapter {
                use super::*;
                $(
                    #[tokio::test]
                    async fn $story() {
                        let side = $crate::store::Side::of($engine);
                        $crate::store::$chapter::$story(side).await;
                    }
                )+
            })+
        }
    };
}

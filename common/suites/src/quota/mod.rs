//! What the quota seam promises: in one process, on one Redis, and on a Redis Cluster.

pub mod budgets;
pub mod fairness;
pub mod limits;
pub mod people;
pub mod run_queue;
pub mod side;

pub use side::QuotaUnderTest;

/// `quota_suite!(name, engine)`: a module of this name with each story as a test of the engine, a
/// [`QuotaUnderTest`](crate::quota::QuotaUnderTest).
#[macro_export]
macro_rules! quota_suite {
    ($side:ident, $engine:expr) => {
        $crate::quota_suite! { @ $side, $engine,
            limits {
                what_is_full_says_when_there_is_room_again,
                no_window_sees_more_calls_than_its_quota,
                tokens_count_as_estimated_and_then_as_they_were,
                estimates_learn_from_costs,
                a_prompt_larger_than_the_quota_goes_when_it_is_alone,
                a_grant_that_does_not_begin_comes_back,
                a_grant_that_began_stays_for_its_window,
                a_refused_call_gives_its_place_back,
                a_grant_is_granted_once,
                a_pause_is_everybodys,
                a_day_has_an_end,
                models_have_a_quota_each,
                no_limit_is_no_wait,
            }
            fairness {
                whoever_had_least_goes_first,
                users_who_ask_alike_get_alike,
                a_busy_room_leaves_room_for_another,
                who_vanishes_holds_up_nobody,
                who_leaves_makes_way,
                one_user_alone_does_not_take_all_at_once,
            }
            people {
                one_person_may_ask_so_often_a_minute,
                a_request_that_comes_again_counts_once,
                workers_are_counted_while_they_show,
                it_is_known_since_when_there_has_been_a_worker,
            }
            run_queue {
                what_one_worker_offers_another_takes_and_only_once,
                of_those_who_have_as_much_the_older_goes_first,
                nobodys_many_stand_before_anothers_one,
                whoever_is_passed_over_keeps_their_place,
                what_is_withdrawn_is_given_to_nobody,
            }
            budgets {
                what_is_used_up_is_said_by_whose_it_is,
                what_is_held_counts_until_it_is_settled,
                what_nobody_settles_counts_as_it_was_estimated,
                whoever_was_late_is_believed,
                a_call_is_settled_once,
                days_and_months_begin_anew,
                what_is_under_way_at_midnight_counts_in_the_new_day,
                books_that_are_empty_are_filled_before_anything_is_held,
                money_is_a_budget_too,
                a_crowd_exceeds_a_budget_by_one_call_at_most,
                no_history_exceeds_a_budget_by_more_than_a_call,
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
                        $crate::quota::$chapter::$story(&$engine).await;
                    }
                )+
            })+
        }
    };
}

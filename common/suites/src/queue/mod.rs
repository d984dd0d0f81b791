//! What the queue promises: on a broker, and in a folder.

pub mod side;
pub mod stories;

pub use side::QueueUnderTest;

/// `queue_suite!(name, engine)`: a module of this name with each story as a test of the engine, a
/// [`QueueUnderTest`](crate::queue::QueueUnderTest).
#[macro_export]
macro_rules! queue_suite {
    ($side:ident, $engine:expr) => {
        $crate::queue_suite! { @ $side, $engine,
            what_is_published_is_delivered_in_order
            one_publish_reaches_every_queue_of_its_route
            what_was_settled_does_not_come_again_and_nothing_else_is_lost
            a_consumer_holds_no_more_than_its_prefetch
            what_is_handed_back_comes_again_and_is_counted
            a_dead_letter_is_kept_with_its_reason_until_it_is_put_back_or_dropped
            a_dead_letter_that_is_revised_says_something_else_or_goes
            what_nobody_can_settle_becomes_a_dead_letter
            looking_at_dead_letters_again_and_again_loses_none
            two_consumers_share_a_queue
            a_closed_consumer_hands_back_what_it_had_not_looked_at
            a_dropped_consumer_hands_back_everything
            a_batch_is_acked_in_any_order
            a_receipt_is_good_once
            waiting_can_be_given_up_without_losing_a_delivery
            five_thousand_at_once_all_arrive
            an_empty_payload_and_a_large_one_arrive_whole
            an_open_queue_is_ready_and_answers
        }
    };
    (@ $side:ident, $engine:expr, $($story:ident)+) => {
        mod $side {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $story() {
                    $crate::queue::stories::$story($engine).await;
                }
            )+
        }
    };
}

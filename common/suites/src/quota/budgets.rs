//! A budget is exceeded by one call at most, whoever asks and whoever dies.

use std::{sync::Arc, time::Duration};

use common::{
    quota::{
        Quota, QuotaLimits, QuotaTimings,
        budgets::{
            Books, BudgetLimits, BudgetOut, BudgetPeriod, BudgetScope, BudgetUnit, CostlyCall,
            Held, PastSpending, Reached, Spending,
        },
    },
    wire::{Seq, now_seq},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::side::{QuotaUnderTest, Side};

const MINUTE: Seq = 60_000_000;
const ALL: [&str; 6] = [
    "1000 tokens",
    "10000 tokens",
    "2000 tokens",
    "20000 tokens",
    "3000 tokens",
    "30000 tokens",
];

async fn fresh(engine: &dyn QuotaUnderTest) -> Side {
    let limits = QuotaLimits::default();
    Side::fresh(engine, limits, QuotaTimings::default()).await
}

/// The books of a server that nobody has used yet.
async fn filled(engine: &dyn QuotaUnderTest) -> Side {
    let side = fresh(engine).await;
    side.one.fill(&[], now_seq()).await.unwrap();
    side
}

fn limits(budgets: [&str; 6]) -> BudgetLimits {
    let mut limits = BudgetLimits::default();
    for (limit, text) in limits.0.as_flattened_mut().iter_mut().zip(budgets) {
        *limit = text.parse().ok();
    }
    limits
}

fn of_person(day: &str) -> BudgetLimits {
    limits([day, "-", "-", "-", "-", "-"])
}

fn tokens(tokens: u64) -> Spending {
    Spending {
        calls: 1,
        tokens_in: tokens - tokens / 4,
        tokens_out: tokens / 4,
        cost_micros: 2 * tokens,
    }
}

fn call<'a>(user: &'a str, room: &'a str, most: u64, at: Seq) -> CostlyCall<'a> {
    CostlyCall {
        id: Uuid::now_v7(),
        user,
        room,
        most: tokens(most),
        over_by: at + MINUTE,
    }
}

fn out(scope: BudgetScope, period: BudgetPeriod) -> Held {
    Held::Out(BudgetOut { scope, period })
}

async fn spends(
    quota: &Arc<dyn Quota>,
    call: &CostlyCall<'_>,
    used: u64,
    limits: &BudgetLimits,
    at: Seq,
) -> Vec<Reached> {
    assert_eq!(quota.hold(call, limits, at).await.unwrap(), Held::Yes);
    let used = Some(tokens(used));
    quota.settle(call, used, limits, at).await.unwrap()
}

pub async fn what_is_used_up_is_said_by_whose_it_is(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = limits(ALL);
    let of_ada = call("ada", "lobby", 5_000, at);
    assert_eq!(
        spends(&side.one, &of_ada, 1_000, &limits, at).await.len(),
        2,
        "80 and 100 % of her day"
    );
    let again = call("ada", "den", 5_000, at);
    let ada_is_out = out(BudgetScope::Person, BudgetPeriod::Day);
    assert_eq!(
        side.two.hold(&again, &limits, at).await.unwrap(),
        ada_is_out
    );
    assert!(
        side.two
            .look("ada", "den", &limits, at)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        side.two.look("bob", "lobby", &limits, at).await.unwrap(),
        None
    );
    // Hers stops nobody else, the room's does.
    spends(&side.two, &call("bob", "lobby", 10, at), 1_000, &limits, at).await;
    let held = side
        .one
        .hold(&call("eve", "lobby", 10, at), &limits, at)
        .await
        .unwrap();
    assert_eq!(held, out(BudgetScope::Room, BudgetPeriod::Day));
    spends(&side.one, &call("eve", "den", 10, at), 1_000, &limits, at).await;
    let held = side
        .one
        .hold(&call("kim", "attic", 10, at), &limits, at)
        .await
        .unwrap();
    assert_eq!(held, out(BudgetScope::Server, BudgetPeriod::Day));
}

pub async fn what_is_held_counts_until_it_is_settled(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = of_person("1000 tokens");
    let (one, two) = (call("ada", "lobby", 999, at), call("ada", "lobby", 999, at));
    let third = call("ada", "den", 999, at);
    assert_eq!(side.one.hold(&one, &limits, at).await.unwrap(), Held::Yes);
    assert_eq!(
        side.two.hold(&one, &limits, at).await.unwrap(),
        Held::Yes,
        "once"
    );
    assert_eq!(side.two.hold(&two, &limits, at).await.unwrap(), Held::Yes);
    assert_eq!(
        side.one.hold(&third, &limits, at).await.unwrap(),
        Held::Wait
    );
    side.one
        .settle(&one, Some(tokens(10)), &limits, at)
        .await
        .unwrap();
    side.two.settle(&two, None, &limits, at).await.unwrap();
    assert_eq!(side.one.hold(&third, &limits, at).await.unwrap(), Held::Yes);
    let spent = side.two.spent("ada", Some("lobby"), at).await.unwrap();
    assert_eq!(
        (spent.person[0], spent.room[1], spent.server[0]),
        (tokens(10), tokens(10), tokens(10))
    );
}

pub async fn what_nobody_settles_counts_as_it_was_estimated(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = of_person("1000 tokens");
    let lost = call("ada", "lobby", 1_000, at);
    assert_eq!(side.one.hold(&lost, &limits, at).await.unwrap(), Held::Yes);
    let later = at + MINUTE;
    let other = call("ada", "lobby", 1, later);
    assert_eq!(
        side.two.hold(&other, &limits, later - 1).await.unwrap(),
        Held::Wait
    );
    let held = side.two.hold(&other, &limits, later).await.unwrap();
    assert_eq!(held, out(BudgetScope::Person, BudgetPeriod::Day));
    let reached = side.two.settle(&other, None, &limits, later).await.unwrap();
    assert_eq!(
        reached.len(),
        2,
        "whoever settles next tells of it: {reached:?}"
    );
    // It only stood still.
    side.one
        .settle(&lost, Some(tokens(40)), &limits, later)
        .await
        .unwrap();
    side.one
        .settle(&lost, Some(tokens(40)), &limits, later)
        .await
        .unwrap();
    let spent = side.two.spent("ada", None, later).await.unwrap();
    assert_eq!(spent.person, [tokens(40); 2]);
    assert_eq!(
        side.two.hold(&other, &limits, later).await.unwrap(),
        Held::Yes
    );
}

pub async fn a_call_is_settled_once(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = BudgetLimits::default();
    let (held, not_held) = (call("ada", "lobby", 100, at), call("ada", "lobby", 100, at));
    assert_eq!(side.one.hold(&held, &limits, at).await.unwrap(), Held::Yes);
    for _ in 0..3 {
        for call in [&held, &not_held] {
            side.two
                .settle(call, Some(tokens(20)), &limits, at)
                .await
                .unwrap();
        }
    }
    let spent = side.one.spent("ada", None, at).await.unwrap();
    assert_eq!(spent.server, [tokens(20).and(tokens(20)); 2]);
}

pub async fn days_and_months_begin_anew(engine: &dyn QuotaUnderTest) {
    let side = filled(engine).await;
    let limits = limits(["100 tokens", "200 tokens", "-", "-", "-", "-"]);
    // Not at the end of a month.
    let month = BudgetPeriod::Month.ends(now_seq());
    let evening = BudgetPeriod::Day.ends(month) - 1;
    spends(
        &side.one,
        &call("ada", "lobby", 1, evening),
        150,
        &limits,
        evening,
    )
    .await;
    let held = side
        .one
        .hold(&call("ada", "lobby", 1, evening), &limits, evening)
        .await
        .unwrap();
    assert_eq!(held, out(BudgetScope::Person, BudgetPeriod::Day));
    let morning = evening + 1;
    assert_eq!(
        side.two.spent("ada", None, morning).await.unwrap().person,
        [Spending::default(), tokens(150)]
    );
    spends(
        &side.two,
        &call("ada", "lobby", 1, morning),
        50,
        &limits,
        morning,
    )
    .await;
    let held = side
        .one
        .hold(&call("ada", "lobby", 1, morning), &limits, morning)
        .await
        .unwrap();
    assert_eq!(
        held,
        out(BudgetScope::Person, BudgetPeriod::Month),
        "it opens later than the day"
    );
    // A process whose clock is a little behind does not bring yesterday back.
    assert_eq!(
        side.one.spent("ada", None, evening).await.unwrap().person[0],
        tokens(50)
    );
    let next = BudgetPeriod::Month.ends(morning);
    assert_eq!(
        side.one
            .hold(&call("ada", "lobby", 1, next), &limits, next)
            .await
            .unwrap(),
        Held::Yes
    );
    assert_eq!(
        side.one.spent("ada", None, next).await.unwrap().person,
        [Spending::default(); 2]
    );
}

pub async fn what_is_under_way_at_midnight_counts_in_the_new_day(engine: &dyn QuotaUnderTest) {
    let side = filled(engine).await;
    let limits = of_person("1000 tokens");
    let morning = BudgetPeriod::Day.ends(now_seq());
    let under_way = call("ada", "lobby", 1_000, morning - 1);
    assert_eq!(
        side.one
            .hold(&under_way, &limits, morning - 1)
            .await
            .unwrap(),
        Held::Yes
    );
    let other = call("ada", "lobby", 1, morning);
    assert_eq!(
        side.two.hold(&other, &limits, morning).await.unwrap(),
        Held::Wait
    );
    side.one
        .settle(&under_way, Some(tokens(30)), &limits, morning)
        .await
        .unwrap();
    assert_eq!(
        side.two.spent("ada", None, morning).await.unwrap().person[0],
        tokens(30)
    );
}

pub async fn books_that_are_empty_are_filled_before_anything_is_held(engine: &dyn QuotaUnderTest) {
    let (side, at) = (fresh(engine).await, now_seq());
    let limits = of_person("1000 tokens");
    let first = call("ada", "lobby", 10, at);
    assert_eq!(
        side.one.hold(&first, &limits, at).await.unwrap(),
        Held::NotKnown
    );
    assert_eq!(
        side.one.keep_budgets(&limits, at).await.unwrap(),
        Books::YoursToFill
    );
    assert_eq!(
        side.two.keep_budgets(&limits, at).await.unwrap(),
        Books::BeingFilled
    );
    assert_eq!(
        side.two.keep_budgets(&limits, at + MINUTE).await.unwrap(),
        Books::YoursToFill
    );
    // Of a call that began before the engine lost its memory.
    side.one
        .settle(&first, Some(tokens(5)), &limits, at)
        .await
        .unwrap();
    assert!(!side.one.spent("ada", None, at).await.unwrap().is_whole);
    let line = |period, scope, name: &str, used| PastSpending {
        period,
        scope,
        name: name.to_owned(),
        spent: tokens(used),
    };
    let past = [
        line(BudgetPeriod::Day, BudgetScope::Person, "ada", 995),
        line(BudgetPeriod::Month, BudgetScope::Person, "ada", 4_000),
        line(BudgetPeriod::Month, BudgetScope::Room, "lobby", 5_000),
        line(BudgetPeriod::Month, BudgetScope::Server, "", 6_000),
    ];
    for _ in 0..2 {
        side.two.fill(&past, at).await.unwrap();
    }
    assert_eq!(
        side.one.keep_budgets(&limits, at).await.unwrap(),
        Books::Whole
    );
    let held = side
        .one
        .hold(&call("ada", "lobby", 1, at), &limits, at)
        .await
        .unwrap();
    assert_eq!(held, out(BudgetScope::Person, BudgetPeriod::Day));
    let spent = side.two.spent("ada", Some("lobby"), at).await.unwrap();
    assert!(spent.is_whole && spent.limits == limits);
    assert_eq!(
        spent.person,
        [tokens(995).and(tokens(5)), tokens(4_000).and(tokens(5))]
    );
    assert_eq!(spent.room, [tokens(5), tokens(5_000).and(tokens(5))]);
    assert_eq!(spent.server, [tokens(5), tokens(6_000).and(tokens(5))]);
}

pub async fn money_is_a_budget_too(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = limits(["-", "-", "-", "-", "-", "0.002"]);
    let reached = spends(&side.one, &call("ada", "lobby", 1, at), 800, &limits, at).await;
    let wanted = Reached {
        scope: BudgetScope::Server,
        period: BudgetPeriod::Month,
        name: String::new(),
        percent: 80,
    };
    assert_eq!(reached, [wanted]);
    assert_eq!(
        spends(&side.two, &call("bob", "den", 1, at), 199, &limits, at).await,
        []
    );
    assert_eq!(
        spends(&side.two, &call("bob", "den", 1, at), 1, &limits, at)
            .await
            .len(),
        1
    );
    let held = side
        .one
        .hold(&call("eve", "attic", 1, at), &limits, at)
        .await
        .unwrap();
    assert_eq!(held, out(BudgetScope::Server, BudgetPeriod::Month));
}

/// However many ask at once, what was granted costs less than the budget and the largest call together.
pub async fn a_crowd_exceeds_a_budget_by_one_call_at_most(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = limits(["-", "-", "-", "-", "5000 tokens", "-"]);
    let mut crowd = JoinSet::new();
    for number in 0..64_u64 {
        let quota = [&side.one, &side.two][number as usize % 2].clone();
        crowd.spawn(async move {
            let call = call("ada", "lobby", 400, at);
            if quota.hold(&call, &limits, at).await.unwrap() != Held::Yes {
                return 0;
            }
            // One in four dies with it.
            if number % 4 > 0 {
                let used = Some(tokens(100 + number));
                quota.settle(&call, used, &limits, at).await.unwrap();
            }
            1
        });
    }
    let granted: u64 = crowd.join_all().await.into_iter().sum();
    let over = at + 2 * MINUTE;
    side.one.look("ada", "lobby", &limits, over).await.unwrap();
    let spent = side.one.spent("ada", None, over).await.unwrap();
    assert_eq!(spent.server[0].calls, granted);
    let used = spent.server[0].tokens_in + spent.server[0].tokens_out;
    assert!(granted >= 13, "{granted} were let go");
    assert!(used < 5_400, "{used}");
}

/// What a process does with a call.
#[derive(Clone, Debug)]
struct Does {
    user: usize,
    room: usize,
    most: u64,
    /// In percent of the most; none is never heard of again, above 100 is given back.
    uses: Option<u64>,
    /// How many others come in between.
    takes: usize,
    /// In seconds, since the one before.
    comes: u64,
}

fn does() -> impl Strategy<Value = Does> {
    (
        0..3_usize,
        0..2_usize,
        1..1_000_u64,
        proptest::option::weighted(0.8, 0..120_u64),
        0..6_usize,
        0..40_u64,
    )
        .prop_map(|(user, room, most, uses, takes, comes)| Does {
            user,
            room,
            most,
            uses,
            takes,
            comes,
        })
}

/// Whatever two processes do, whichever calls die, and however the days pass: what each party used in a day is less than its
/// budget and the largest call together, and the books have each call once.
pub async fn no_history_exceeds_a_budget_by_more_than_a_call(engine: &dyn QuotaUnderTest) {
    const USERS: [&str; 3] = ["ada", "bob", "eve"];
    const ROOMS: [&str; 2] = ["lobby", "den"];
    let histories = {
        let mut runner = TestRunner::new(Config::default());
        let strategy = proptest::collection::vec(does(), 60);
        (0..6)
            .map(|_| strategy.new_tree(&mut runner).unwrap().current())
            .collect::<Vec<_>>()
    };
    for history in histories {
        let side = filled(engine).await;
        let limits = limits(ALL);
        // The whole history is within one day.
        let mut at = BudgetPeriod::Day.ends(now_seq());
        let day = at;
        let mut under_way: Vec<(usize, CostlyCall<'_>, Option<u64>)> = Vec::new();
        // What was granted and not given back counts by what it used, or its most.
        let mut counted = Vec::new();
        for (number, does) in history.iter().enumerate() {
            at += does.comes * 1_000_000;
            for (_, call, uses) in under_way.extract_if(.., |(until, ..)| *until <= number) {
                let Some(uses) = uses else {
                    counted.push((call, call.most));
                    continue;
                };
                let used = tokens(call.most.in_unit(BudgetUnit::Tokens) * uses / 100);
                let is_given_back = uses > 100;
                let used = (!is_given_back).then_some(used);
                // Late or not: what is settled counts as it was, unless it never went out and has lapsed.
                let _ = side.one.settle(&call, used, &limits, at).await.unwrap();
                counted.extend(used.map(|used| (call, used)));
            }
            let (user, room) = (USERS[does.user], ROOMS[does.room]);
            let call = call(user, room, does.most, at);
            if side.two.hold(&call, &limits, at).await.unwrap() == Held::Yes {
                under_way.push((number + does.takes + 1, call, does.uses));
            }
        }
        let end = at + 2 * MINUTE;
        assert!(end < BudgetPeriod::Day.ends(day), "it is one day");
        counted.extend(under_way.into_iter().map(|(_, call, _)| (call, call.most)));
        side.one.look("ada", "lobby", &limits, end).await.unwrap();
        let mut parties = Vec::new();
        for user in USERS {
            let view = side.two.spent(user, None, end).await.unwrap();
            let mine = counted.iter().filter(|(call, _)| call.user == user);
            parties.push((
                view.person[0],
                mine.map(|(_, used)| *used).collect::<Vec<_>>(),
                1_000,
            ));
        }
        for room in ROOMS {
            let view = side.one.spent("ada", Some(room), end).await.unwrap();
            let here = counted.iter().filter(|(call, _)| call.room == room);
            parties.push((view.room[0], here.map(|(_, used)| *used).collect(), 2_000));
        }
        let view = side.two.spent("ada", None, end).await.unwrap();
        parties.push((
            view.server[0],
            counted.iter().map(|(_, used)| *used).collect(),
            3_000,
        ));
        for (spent, wanted, limit) in parties {
            assert_eq!(
                spent,
                wanted.into_iter().fold(Spending::default(), Spending::and),
                "{history:?}"
            );
            let used = spent.tokens_in + spent.tokens_out;
            assert!(used < limit + 1_000, "{used} of {limit}: {history:?}");
        }
    }
}

pub async fn whoever_was_late_is_believed(engine: &dyn QuotaUnderTest) {
    let (side, at) = (filled(engine).await, now_seq());
    let limits = BudgetLimits::default();
    let late = call("ada", "lobby", 100, at);
    assert_eq!(side.one.hold(&late, &limits, at).await.unwrap(), Held::Yes);
    let after = at + Seq::try_from(Duration::from_secs(3_600).as_micros()).unwrap();
    side.two.look("ada", "lobby", &limits, after).await.unwrap();
    assert_eq!(
        side.two.spent("ada", None, at).await.unwrap().server[1],
        tokens(100)
    );
    side.one.settle(&late, None, &limits, after).await.unwrap();
    assert_eq!(
        side.two.spent("ada", None, at).await.unwrap().server[1],
        Spending::default()
    );
}

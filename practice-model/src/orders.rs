//! Which order a call gets: the standing ones, the queue for the next calls, the call's own, each laid over the more
//! general, and those that hold only sometimes (`times=`, `p=`, `model=`) dropped where they do not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::behaviour::Behaviour;
use crate::grammar::GrammarError;
use crate::quota::Quota;

/// Most orders that may wait for the next calls.
pub const QUEUE_LIMIT: usize = 10_000;

/// Most different prompts whose `times=` are remembered; beyond it they are forgotten, all at once.
const TIMES_LIMIT: usize = 100_000;

/// What a control call changes; what it leaves out stays. Orders are in the language of the crate's table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// For every call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// For the next calls, one each; replaces what still waits. At most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Vec<String>>,
    /// For the calls of one model; an empty text takes it back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// The only models there are: any other is a 404. An empty list takes it back: then any name goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_models: Option<Vec<String>>,
}

/// A quota that an order sets: for one model, or for all that have none of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaChange {
    pub model: Option<String>,
    pub quota: Quota,
}

/// The orders in force.
#[derive(Debug)]
pub struct Standing {
    default: Behaviour,
    models: BTreeMap<String, Behaviour>,
    next: VecDeque<Behaviour>,
    known_models: Vec<String>,
    /// How often an order with `times=` has held, by the hash of the order and the prompt: prompts are long.
    times: HashMap<u64, u32>,
    hash: RandomState,
    dice: Dice,
}

impl Standing {
    pub fn new(seed: u64) -> Standing {
        Standing {
            default: Behaviour::default(),
            models: BTreeMap::new(),
            next: VecDeque::new(),
            known_models: Vec::new(),
            times: HashMap::new(),
            hash: RandomState::new(),
            dice: Dice { state: seed },
        }
    }

    /// Takes new orders, all or none of them, and says which quotas they set.
    pub fn set(&mut self, orders: &Orders) -> Result<Vec<QuotaChange>, GrammarError> {
        let default = orders
            .default
            .as_deref()
            .map(str::parse::<Behaviour>)
            .transpose()?;
        let next = orders.next.as_deref().map(parse_queue).transpose()?;
        let models = orders
            .models
            .iter()
            .map(|(model, text)| Ok((model.clone(), text.parse::<Behaviour>()?)))
            .collect::<Result<Vec<_>, GrammarError>>()?;

        let mut quotas = Vec::new();
        if let Some(default) = default {
            quotas.extend(default.quota.map(|quota| QuotaChange {
                model: default.model.clone(),
                quota,
            }));
            self.default = default;
        }
        if let Some(next) = next {
            self.next = next;
        }
        for (model, behaviour) in models {
            quotas.extend(behaviour.quota.map(|quota| QuotaChange {
                model: Some(model.clone()),
                quota,
            }));
            if behaviour.text.is_empty() {
                self.models.remove(&model);
            } else {
                self.models.insert(model, behaviour);
            }
        }
        if let Some(known) = &orders.known_models {
            self.known_models.clone_from(known);
        }
        Ok(quotas)
    }

    /// The orders in force, as they were given.
    pub fn orders(&self) -> Orders {
        Orders {
            default: Some(self.default.text.clone()),
            next: Some(
                self.next
                    .iter()
                    .map(|behaviour| behaviour.text.clone())
                    .collect(),
            ),
            models: self
                .models
                .iter()
                .map(|(model, behaviour)| (model.clone(), behaviour.text.clone()))
                .collect(),
            known_models: Some(self.known_models.clone()),
        }
    }

    /// The models there are; empty if any name goes.
    pub fn known_models(&self) -> &[String] {
        &self.known_models
    }

    /// What a call of this model with this prompt gets, from the general to the special: default, model, queue, marker,
    /// header. The queue moves on by one. Beside it, the quota that the call itself sets, if any.
    pub fn for_call(
        &mut self,
        model: &str,
        prompt: &str,
        marker: Option<Behaviour>,
        header: Option<Behaviour>,
    ) -> (Behaviour, Option<QuotaChange>) {
        let standing = [Some(self.default.clone()), self.models.get(model).cloned()];
        let own = [self.next.pop_front(), marker, header];
        let mut effective = Behaviour::default();
        for layer in standing.into_iter().flatten() {
            if self.holds(&layer, model, prompt) {
                effective = layer.over(&effective);
            }
        }
        let mut quota = None;
        for layer in own.into_iter().flatten() {
            if self.holds(&layer, model, prompt) {
                quota = layer.quota.or(quota);
                effective = layer.over(&effective);
            }
        }
        (
            effective,
            quota.map(|quota| QuotaChange {
                model: Some(model.to_owned()),
                quota,
            }),
        )
    }

    /// What a question about a model gets: the standing orders and the header, nothing is used up.
    pub fn for_model(&self, model: &str, header: Option<Behaviour>) -> Behaviour {
        let layers = [
            Some(self.default.clone()),
            self.models.get(model).cloned(),
            header,
        ];
        layers
            .into_iter()
            .flatten()
            .filter(|layer| layer.times.is_none() && layer.probability.is_none())
            .filter(|layer| layer.model.as_deref().is_none_or(|only| only == model))
            .fold(Behaviour::default(), |below, layer| layer.over(&below))
    }

    fn holds(&mut self, layer: &Behaviour, model: &str, prompt: &str) -> bool {
        if layer.model.as_deref().is_some_and(|only| only != model) {
            return false;
        }
        if layer
            .probability
            .is_some_and(|probability| self.dice.throw() >= probability)
        {
            return false;
        }
        let Some(times) = layer.times else {
            return true;
        };
        if self.times.len() >= TIMES_LIMIT {
            self.times.clear();
        }
        let key = self.hash.hash_one((&layer.text, prompt));
        let so_far = self.times.entry(key).or_default();
        *so_far = so_far.saturating_add(1);
        *so_far <= times
    }
}

fn parse_queue(texts: &[String]) -> Result<VecDeque<Behaviour>, GrammarError> {
    if texts.len() > QUEUE_LIMIT {
        return Err(GrammarError::new(format!(
            "at most {QUEUE_LIMIT} orders may wait for the next calls"
        )));
    }
    texts.iter().map(|text| text.parse()).collect()
}

/// SplitMix64: the same seed, the same dice.
#[derive(Debug)]
struct Dice {
    state: u64,
}

impl Dice {
    /// From 0 to less than 1.
    fn throw(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The upper 53 bits are what a float of this size holds.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::{Fault, Outcome};

    fn standing(orders: Orders) -> Standing {
        let mut standing = Standing::new(7);
        standing.set(&orders).unwrap();
        standing
    }

    fn default_of(text: &str) -> Standing {
        standing(Orders {
            default: Some(text.to_owned()),
            ..Orders::default()
        })
    }

    fn ends(standing: &mut Standing, model: &str, prompt: &str) -> Option<Outcome> {
        standing.for_call(model, prompt, None, None).0.outcome
    }

    const UNAVAILABLE: Option<Outcome> = Some(Outcome::Error(Fault::Unavailable));

    #[test]
    fn the_special_order_wins() {
        let mut standing = standing(Orders {
            default: Some("503 pace=0ms".to_owned()),
            next: Some(vec!["404".to_owned()]),
            models: [("b".to_owned(), "403".to_owned())].into(),
            known_models: None,
        });
        let marker = || "500".parse().ok();
        let header = || "ok".parse().ok();
        assert_eq!(
            ends(&mut standing, "a", "x"),
            Some(Outcome::Error(Fault::NotFound)),
            "the queue"
        );
        assert_eq!(ends(&mut standing, "a", "x"), UNAVAILABLE, "the default");
        assert_eq!(
            ends(&mut standing, "b", "x"),
            Some(Outcome::Error(Fault::PermissionDenied)),
            "the model's"
        );
        assert_eq!(
            standing.for_call("b", "x", marker(), None).0.outcome,
            Some(Outcome::Error(Fault::Internal))
        );
        let (all, _) = standing.for_call("b", "x", marker(), header());
        assert_eq!(
            (all.outcome, all.pace),
            (Some(Outcome::Answer), Some(std::time::Duration::ZERO))
        );
    }

    #[test]
    fn times_counts_by_prompt_and_then_it_goes_well() {
        let mut standing = default_of("503 times=2");
        for (prompt, expected) in [
            ("x", UNAVAILABLE),
            ("x", UNAVAILABLE),
            ("x", None),
            ("y", UNAVAILABLE),
            ("x", None),
        ] {
            assert_eq!(ends(&mut standing, "a", prompt), expected, "{prompt}");
        }
    }

    #[test]
    fn an_order_for_one_model_leaves_the_others_alone() {
        let mut standing = default_of("503 model=a");
        assert_eq!(ends(&mut standing, "a", "x"), UNAVAILABLE);
        assert_eq!(ends(&mut standing, "b", "x"), None);
        assert_eq!(standing.for_model("a", None).outcome, UNAVAILABLE);
        assert_eq!(standing.for_model("b", None).outcome, None);
    }

    #[test]
    fn dice_keep_to_their_share_and_to_their_seed() {
        let run = || {
            let mut standing = default_of("503 p=0.1");
            (0..10_000)
                .map(|_| ends(&mut standing, "a", "x").is_some())
                .collect::<Vec<_>>()
        };
        let failed = run().into_iter().filter(|failed| *failed).count();
        assert!((900..=1_100).contains(&failed), "{failed}");
        assert_eq!(run(), run());
    }

    #[test]
    fn a_bad_order_changes_nothing() {
        let mut standing = default_of("503");
        let bad = Orders {
            default: Some("ok".to_owned()),
            next: Some(vec!["nonsense".to_owned()]),
            ..Orders::default()
        };
        assert!(standing.set(&bad).is_err());
        assert_eq!(standing.orders().default.as_deref(), Some("503"));
    }

    #[test]
    fn quotas_are_set_where_the_order_stands() {
        let mut standing = Standing::new(1);
        let set = standing
            .set(&Orders {
                models: [("b".to_owned(), "quota rpm=1".to_owned())].into(),
                ..Orders::default()
            })
            .unwrap();
        assert_eq!(set[0].model.as_deref(), Some("b"));
        let (_, change) = standing.for_call("a", "x", "quota rpm=2".parse().ok(), None);
        assert_eq!(change.unwrap().model.as_deref(), Some("a"));
        assert_eq!(
            standing.for_call("b", "x", None, None).1,
            None,
            "a standing order's quota is set once"
        );
    }
}

//! What a call is estimated to cost: a table in the settings, since prices change more often than programs.

use std::{collections::HashMap, str::FromStr};

use crate::model::Usage;

/// What models cost, in whatever currency the table's writer thinks in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    models: HashMap<String, Price>,
    /// A thousand queries of a model that looks things up.
    search: Option<f64>,
}

/// The entry of the table that is no model.
const SEARCH: &str = "search";

#[derive(Clone, Copy, Debug, PartialEq)]
struct Price {
    /// A million tokens of prompt.
    into: f64,
    /// A million tokens of answer and thoughts.
    out: f64,
    /// A million tokens of prompt that were read from a cache.
    cached: f64,
}

/// What the calls for one request have used, whatever came of each, by model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used(Vec<(String, Usage)>);

impl Used {
    /// What one more call has used.
    pub(crate) fn add(&mut self, model: &str, usage: Usage) {
        let of_model = self.0.iter_mut().find(|(name, _)| name == model);
        match of_model {
            Some((_, sum)) => *sum = sum.and(usage),
            None => self.0.push((model.to_owned(), usage)),
        }
    }

    /// All of it.
    pub(crate) fn total(&self) -> Usage {
        let usages = self.0.iter().map(|(_, usage)| *usage);
        usages.fold(Usage::default(), Usage::and)
    }
}

impl Prices {
    /// What all of that cost, in millionths; none if one of the models has no price.
    pub(crate) fn cost_of(&self, used: &Used) -> Option<u64> {
        let costs = used
            .0
            .iter()
            .map(|(model, usage)| self.cost_micros(model, *usage));
        let costs: Option<Vec<u64>> = costs.collect();
        costs
            .filter(|costs| !costs.is_empty())
            .map(|costs| costs.iter().sum())
    }

    /// Whether the model has a price.
    pub(crate) fn has(&self, model: &str) -> bool {
        self.models.contains_key(model)
    }

    /// Whether it is known what looking things up costs.
    pub(crate) fn has_search(&self) -> bool {
        self.search.is_some()
    }

    /// What that cost, in millionths; none if the model has no price.
    pub fn cost_micros(&self, model: &str, usage: Usage) -> Option<u64> {
        let price = self.models.get(model)?;
        let cached = usage.tokens_cached.min(usage.tokens_in);
        // So much for a million tokens is so many millionths for one.
        let cost = f64::from(usage.tokens_in - cached) * price.into
            + f64::from(cached) * price.cached
            + f64::from(usage.tokens_out) * price.out
            // And so much for a thousand is so many thousand millionths for one.
            + f64::from(usage.searches) * self.search.unwrap_or_default() * 1_000.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the product of non-negative numbers; beyond u64 it saturates"
        )]
        Some(cost.round() as u64)
    }
}

/// `model=0.30/2.50,another=0.10/0.40/0.01,search=14`: in, out, and in from a cache, for a million tokens; and a thousand
/// queries. What has no price for the cache costs as much from there.
impl FromStr for Prices {
    type Err = String;

    fn from_str(text: &str) -> Result<Prices, String> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let mut prices = Prices::default();
        for entry in entries {
            if let Some((SEARCH, price)) = entry.split_once('=')
                && let Some(price) = number(price)
            {
                prices.search = Some(price);
                continue;
            }
            let (model, price) = read(entry).ok_or_else(|| {
                format!(
                    "{entry:?} is no price; write MODEL=IN/OUT or MODEL=IN/OUT/CACHED, for a million tokens each, such as \
                     a-model=0.30/2.50, and search=PRICE for a thousand queries"
                )
            })?;
            prices.models.insert(model, price);
        }
        Ok(prices)
    }
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn read(entry: &str) -> Option<(String, Price)> {
    // A model's name may have an equals sign, a price has none.
    let (model, prices) = entry.rsplit_once('=')?;
    let (into, out) = prices.split_once('/')?;
    let model = model.trim();
    let (out, cached) = out.split_once('/').unwrap_or((out, into));
    let price = Price {
        into: number(into)?,
        out: number(out)?,
        cached: number(cached)?,
    };
    (!model.is_empty()).then(|| (model.to_owned(), price))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_for_a_million_tokens() {
        let prices: Prices = "a=0.30/2.50, llama3.2:3b = 0/0".parse().unwrap();
        let usage = Usage {
            tokens_in: 1_000_000,
            tokens_out: 2_000,
            ..Usage::default()
        };
        assert_eq!(prices.cost_micros("a", usage), Some(305_000));
        assert_eq!(prices.cost_micros("llama3.2:3b", usage), Some(0));
        assert_eq!(prices.cost_micros("b", usage), None);
        let from_cache = Usage {
            tokens_cached: 800_000,
            ..usage
        };
        assert_eq!(prices.cost_micros("a", from_cache), Some(305_000));
        let prices: Prices = "a=0.30/2.50/0.03".parse().unwrap();
        assert_eq!(prices.cost_micros("a", usage), Some(305_000));
        assert_eq!(prices.cost_micros("a", from_cache), Some(89_000));
        assert!(!prices.has_search());
        let prices: Prices = "a=0/0,search=14".parse().unwrap();
        let searched = Usage {
            searches: 3,
            ..usage
        };
        assert_eq!(prices.cost_micros("a", searched), Some(42_000));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for wrong in [
            "a",
            "a=1",
            "a=1/x",
            "=1/2",
            "a=-1/2",
            "a=inf/1",
            "a=1/2/",
            "a=1/2/3/4",
            "search=",
            "search=-1",
        ] {
            assert!(wrong.parse::<Prices>().is_err(), "{wrong}");
        }
        assert_eq!("".parse(), Ok(Prices::default()));
    }
}

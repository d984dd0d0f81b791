//! What can be set about a bot worker.

use std::{
    convert::Infallible,
    num::{NonZeroU32, NonZeroUsize},
    str::FromStr,
    time::Duration,
};

use clap::Args;
use common::{
    live::OfferedModel,
    quota::{
        QuotaLimits,
        budgets::{Budget, BudgetLimits, BudgetUnit},
    },
    settings::seconds,
    store::Thinking,
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::{model_names, prices::Prices};

/// The most model calls one worker may make at a time: each needs a connection and up to a few hundred KiB.
const CONCURRENCY_MAX: usize = 1_024;

/// How long draining may take where the process says nothing.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The worker's own settings; those of every process are `common`'s, those of the engines are theirs.
#[derive(Args, Clone, Debug)]
pub struct WorkerSettings {
    /// Whose API the models speak.
    #[arg(long, env = "BOT_MODEL_API", value_enum, default_value = "gemini")]
    pub bot_model_api: ModelApi,
    /// The key for Gemini. Needed for Google's own address; another one may do without.
    #[arg(long, env = "GEMINI_API_KEY", hide_env_values = true)]
    pub gemini_api_key: Option<SecretString>,
    /// Where Gemini's REST is spoken: `https://host`, or `http://host:port`.
    #[arg(
        long,
        env = "GEMINI_BASE_URL",
        default_value = "https://generativelanguage.googleapis.com",
        hide_env_values = true
    )]
    pub gemini_base_url: BaseUrl,
    /// The models, with commas, in order: the next is tried when one fails. Rooms may choose among them, by a name for people
    /// that may stand behind each: `MODEL=Name`.
    #[arg(
        long,
        env = "GEMINI_MODELS",
        value_delimiter = ',',
        default_value = "gemini-3.8-flash,gemini-3.7-flash,gemini-3.5-flash,gemini-3.5-flash-lite",
        value_parser = gemini_model
    )]
    pub gemini_models: Vec<OfferedModel>,
    /// Where the OpenAI-compatible chat API is spoken, up to and with its version: `http://127.0.0.1:11434/v1`.
    #[arg(long, env = "OPENAI_BASE_URL", hide_env_values = true)]
    pub openai_base_url: Option<BaseUrl>,
    /// The key for it; most servers at home need none.
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true)]
    pub openai_api_key: Option<SecretString>,
    /// Its models, with commas, in order, each with a name for people if need be, as in `MODEL=Name`: the next is tried when
    /// one fails.
    #[arg(long, env = "OPENAI_MODELS", value_delimiter = ',', value_parser = served_model)]
    pub openai_models: Vec<OfferedModel>,
    /// How much models think before they answer, where a room has not chosen: off, low, medium, high. As far as each takes it.
    #[arg(long, env = "BOT_THINKING", default_value = "low", value_parser = thinking)]
    pub bot_thinking: Thinking,
    /// Whether rooms may have the bot look things up, with Google Search and by reading what is linked: on or off. Each
    /// query is billed.
    #[arg(long, env = "BOT_SEARCH", default_value = "off", value_parser = on_or_off, action = clap::ArgAction::Set)]
    pub bot_search: bool,
    /// The most calls to models at a time.
    #[arg(long, env = "BOT_CONCURRENCY", default_value = "16", value_parser = concurrency)]
    pub bot_concurrency: NonZeroUsize,
    /// Seconds within which a request has its reply, whatever the model does.
    #[arg(long, env = "BOT_DEADLINE", default_value = "60", value_parser = positive_seconds)]
    pub bot_deadline: Duration,
    /// What is said when no model answers, in the place of words that tell the cause; 1 to 4,000 characters.
    #[arg(long, env = "BOT_FALLBACK", value_parser = fallback)]
    pub bot_fallback: Option<String>,
    /// The most calls of one model a minute, by all workers.
    #[arg(long, env = "BOT_RPM")]
    pub bot_rpm: Option<NonZeroU32>,
    /// The most input tokens of one model a minute, by all workers.
    #[arg(long, env = "BOT_TPM")]
    pub bot_tpm: Option<NonZeroU32>,
    /// The most calls of one model a day, by all workers. The day ends at midnight in California.
    #[arg(long, env = "BOT_RPD")]
    pub bot_rpd: Option<NonZeroU32>,
    /// The most questions of one person a minute; 0 for any number. Further ones are told when to ask again, and no model is
    /// asked. One a second is faster than anybody reads the answers.
    #[arg(long, env = "BOT_USER_RPM", default_value = "60")]
    pub bot_user_rpm: u32,
    /// What models cost, for the log of replies and the budgets: `MODEL=IN/OUT` or `MODEL=IN/OUT/CACHED`, with commas, for a
    /// million tokens each; `search=PRICE` is for a thousand queries.
    #[arg(
        long,
        env = "BOT_PRICES",
        default_value = "",
        hide_default_value = true
    )]
    pub bot_prices: Prices,
    /// The most of the models that one person may use in a day (UTC), such as `200000 tokens` or `2.50`.
    #[arg(long, env = "BOT_BUDGET_PERSON_DAY")]
    pub bot_budget_person_day: Option<Budget>,
    /// The most of the models that one person may use in a month (UTC), such as `200000 tokens` or `2.50`.
    #[arg(long, env = "BOT_BUDGET_PERSON_MONTH")]
    pub bot_budget_person_month: Option<Budget>,
    /// The most of the models that one room may use in a day (UTC), such as `200000 tokens` or `2.50`.
    #[arg(long, env = "BOT_BUDGET_ROOM_DAY")]
    pub bot_budget_room_day: Option<Budget>,
    /// The most of the models that one room may use in a month (UTC), such as `200000 tokens` or `2.50`.
    #[arg(long, env = "BOT_BUDGET_ROOM_MONTH")]
    pub bot_budget_room_month: Option<Budget>,
    /// The most of the models that all together may use in a day (UTC), such as `200000 tokens` or `2.50`.
    #[arg(long, env = "BOT_BUDGET_SERVER_DAY")]
    pub bot_budget_server_day: Option<Budget>,
    /// The most of the models that all together may use in a month (UTC), such as `200000 tokens` or `2.50`.
    #[arg(long, env = "BOT_BUDGET_SERVER_MONTH")]
    pub bot_budget_server_month: Option<Budget>,
    /// How much of a room's past goes along with a question, in tokens of about four bytes.
    #[arg(long, env = "BOT_CONTEXT_TOKENS", default_value = "8000")]
    pub bot_context_tokens: NonZeroUsize,
    /// Seconds a model may be silent before it says its first word, and after a thought; two thirds of the deadline unless set.
    #[arg(long, env = "BOT_FIRST_TOKEN_SECONDS", value_parser = positive_seconds)]
    pub bot_first_token_seconds: Option<Duration>,
    /// Seconds a model may pause in the middle of an answer.
    #[arg(long, env = "BOT_IDLE_SECONDS", default_value = "10", value_parser = positive_seconds)]
    pub bot_idle_seconds: Duration,
    /// How long what is under way may take after the worker was told to stop; the process says so, as it has a limit
    /// of its own.
    #[arg(skip = DRAIN_TIME)]
    pub drain_time: Duration,
}

/// Whose API the models speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModelApi {
    /// Google's, for Gemini: the settings `GEMINI_…` hold.
    Gemini,
    /// The OpenAI-compatible chat API, which many servers speak: the settings `OPENAI_…` hold.
    #[value(name = "openai")]
    OpenAi,
}

/// A base URL, or why it is none. Read without being judged, since a value that is refused while parsing is printed, and
/// with it a key that somebody wrote into the address; [`WorkerSettings::check`] judges.
#[derive(Clone, Debug)]
pub struct BaseUrl(Result<Url, String>);

impl BaseUrl {
    /// The URL.
    ///
    /// # Errors
    /// In words for people, without anything of what was written.
    pub fn url(&self) -> Result<&Url, String> {
        self.0.as_ref().map_err(Clone::clone)
    }
}

impl FromStr for BaseUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<BaseUrl, Infallible> {
        Ok(BaseUrl(base_url(text)))
    }
}

impl WorkerSettings {
    /// What no single setting shows by itself.
    ///
    /// # Errors
    /// In words for people, with the setting's name.
    pub fn check(&self) -> Result<(), String> {
        for (name, url) in [
            ("GEMINI_BASE_URL", Some(&self.gemini_base_url)),
            ("OPENAI_BASE_URL", self.openai_base_url.as_ref()),
        ] {
            if let Some(Err(why)) = url.map(BaseUrl::url) {
                return Err(format!("{name}: {why}"));
            }
        }
        if self.lacks_key() {
            return Err(
                "GEMINI_API_KEY is missing: Google answers nobody without one. Get one at https://aistudio.google.com, \
                 or set GEMINI_BASE_URL to a server that needs none"
                    .into(),
            );
        }
        if self.bot_model_api == ModelApi::OpenAi {
            if self.openai_base_url.is_none() {
                return Err(
                    "OPENAI_BASE_URL is missing: where is the chat API? A server at home may be at \
                     http://127.0.0.1:11434/v1"
                        .into(),
                );
            }
            if self.openai_models.is_empty() {
                return Err(
                    "OPENAI_MODELS is missing: the names that the server knows its models by"
                        .into(),
                );
            }
        }
        self.check_budgets()?;
        for (name, key) in [
            ("GEMINI_API_KEY", self.gemini_key()),
            ("OPENAI_API_KEY", self.openai_key()),
        ] {
            let is_good = |key: &SecretString| {
                key.expose_secret()
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic())
            };
            if key.is_some_and(|key| !is_good(key)) {
                return Err(format!(
                    "{name} has characters that no key has (a blank, a line break?)"
                ));
            }
        }
        Ok(())
    }

    /// What may be used of the models.
    pub fn budgets(&self) -> BudgetLimits {
        BudgetLimits([
            [self.bot_budget_person_day, self.bot_budget_person_month],
            [self.bot_budget_room_day, self.bot_budget_room_month],
            [self.bot_budget_server_day, self.bot_budget_server_month],
        ])
    }

    /// A budget of money holds only where it is known what each model costs.
    fn check_budgets(&self) -> Result<(), String> {
        let limits = self.budgets();
        let of_money = limits
            .all()
            .find(|(.., budget)| budget.unit == BudgetUnit::CostMicros);
        let models = self.models().iter().map(|model| &*model.id);
        let unpriced = models.filter(|model| !self.bot_prices.has(model));
        let unpriced = unpriced.map(|model| format!("the model {model}")).next();
        let lacks_search = self.bot_search && !self.bot_prices.has_search();
        let unpriced = unpriced.or(lacks_search.then(|| "`search`".to_owned()));
        let (Some((scope, period, _)), Some(unpriced)) = (of_money, unpriced) else {
            return Ok(());
        };
        let [scope, period] = [scope.as_str(), period.as_str()].map(str::to_uppercase);
        Err(format!(
            "BOT_BUDGET_{scope}_{period} is an amount of money, and BOT_PRICES has no price for {unpriced}"
        ))
    }

    /// What all workers together may ask of each model.
    pub fn limits(&self) -> QuotaLimits {
        QuotaLimits {
            calls: self.bot_rpm,
            tokens: self.bot_tpm,
            daily_calls: self.bot_rpd,
        }
    }

    /// Whether Google is to be asked and there is no key for it.
    pub fn lacks_key(&self) -> bool {
        self.bot_model_api == ModelApi::Gemini
            && self.gemini_key().is_none()
            && self.gemini_base_url.url().is_ok_and(is_googles)
    }

    /// The models to ask, in order.
    pub fn models(&self) -> &[OfferedModel] {
        match self.bot_model_api {
            ModelApi::Gemini => &self.gemini_models,
            ModelApi::OpenAi => &self.openai_models,
        }
    }

    /// How long a model may be silent before its first word: so long that one that thinks is not taken for one that hangs, and
    /// that another has the time to answer in its place.
    pub(crate) fn first_token(&self) -> Duration {
        let of_deadline = self.bot_deadline * 2 / 3;
        self.bot_first_token_seconds.unwrap_or(of_deadline)
    }

    pub(crate) fn gemini_key(&self) -> Option<&SecretString> {
        there(self.gemini_api_key.as_ref())
    }

    pub(crate) fn openai_key(&self) -> Option<&SecretString> {
        there(self.openai_api_key.as_ref())
    }
}

/// The key, if there is one; an empty one is none, since that is how deployments leave a variable out.
fn there(key: Option<&SecretString>) -> Option<&SecretString> {
    key.filter(|key| !key.expose_secret().trim().is_empty())
}

fn is_googles(url: &Url) -> bool {
    url.host_str()
        .is_some_and(|host| host == "googleapis.com" || host.ends_with(".googleapis.com"))
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim_end_matches('/')).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("write http://host:port or https://host".into());
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        // A key in the address would end in logs.
        return Err("an address only: no user, no password, no ? and no #".into());
    }
    if url.scheme() == "http" && is_googles(&url) {
        return Err("the key would travel in the clear: write https://".into());
    }
    Ok(url)
}

fn model_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let name = name.strip_prefix("models/").unwrap_or(name);
    let good = !name.is_empty()
        && name.len() <= 100
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "{text:?} is no model's name; write such as gemini-3.5-flash, several with commas"
        ))
    }
}

/// A name as servers at home have them: `llama3.2:3b`, `owner/model`.
fn served_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let good = !name.is_empty()
        && name.len() <= 100
        && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!("{text:?} is no model's name; several with commas"))
    }
}

fn gemini_model(text: &str) -> Result<OfferedModel, String> {
    model_names::read(text, model_name)
}

fn served_model(text: &str) -> Result<OfferedModel, String> {
    model_names::read(text, served_name)
}

fn thinking(text: &str) -> Result<Thinking, String> {
    Thinking::from_word(&text.trim().to_ascii_lowercase())
        .ok_or_else(|| "write off, low, medium or high".to_owned())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" | "" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

fn concurrency(text: &str) -> Result<NonZeroUsize, String> {
    text.parse::<NonZeroUsize>()
        .ok()
        .filter(|number| number.get() <= CONCURRENCY_MAX)
        .ok_or_else(|| format!("write a whole number from 1 to {CONCURRENCY_MAX}"))
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    /// Beyond this nobody waits, and sums of times stay far from overflowing.
    const LONGEST: Duration = Duration::from_secs(24 * 3_600);
    match seconds(text)? {
        time if time.is_zero() => Err("must be more than 0 seconds".into()),
        time if time > LONGEST => Err("must be at most a day".into()),
        time => Ok(time),
    }
}

fn fallback(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        length if length > common::wire::MESSAGE_MAX_CHARS => Err(format!(
            "at most {} characters",
            common::wire::MESSAGE_MAX_CHARS
        )),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        worker: WorkerSettings,
    }

    fn parsed(flags: &[&str]) -> Result<WorkerSettings, String> {
        Cli::try_parse_from([&["bot-worker"], flags].concat())
            .map(|cli| cli.worker)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_need_a_key_and_nothing_else() {
        let settings = parsed(&[]).unwrap();
        assert!(settings.check().unwrap_err().contains("GEMINI_API_KEY"));
        let models: Vec<&str> = settings.models().iter().map(|one| &*one.id).collect();
        let wanted = [
            "gemini-3.8-flash",
            "gemini-3.7-flash",
            "gemini-3.5-flash",
            "gemini-3.5-flash-lite",
        ];
        assert_eq!(models, wanted);
        assert_eq!(
            (settings.bot_thinking, settings.bot_search),
            (Thinking::Low, false)
        );
        assert_eq!(settings.first_token(), Duration::from_secs(40));
        let hasty = parsed(&["--bot-deadline", "9"]).unwrap();
        assert_eq!(hasty.first_token(), Duration::from_secs(6));
        assert_eq!(settings.bot_deadline, Duration::from_secs(60));
        assert_eq!(settings.bot_user_rpm, 60);
        assert!(parsed(&["--gemini-api-key", ""]).unwrap().check().is_err());
        assert!(
            parsed(&["--gemini-api-key", "two words"])
                .unwrap()
                .check()
                .is_err()
        );
        let settings = parsed(&["--gemini-api-key", "a-key"]).unwrap();
        assert!(settings.check().is_ok());
        assert!(!format!("{settings:?}").contains("a-key"));
        assert!(
            parsed(&["--gemini-base-url", "http://127.0.0.1:9/"])
                .unwrap()
                .check()
                .is_ok()
        );
    }

    #[test]
    fn bad_ones_are_refused_by_name() {
        for flags in [
            ["--gemini-models", "gemini-a,,gemini-b"],
            ["--gemini-models", "gemini/../a"],
            ["--bot-concurrency", "0"],
            ["--bot-deadline", "0"],
            ["--bot-deadline", "soon"],
            ["--bot-rpm", "0"],
            ["--bot-prices", "a-model=cheap"],
            ["--bot-budget-room-day", "much"],
            ["--bot-context-tokens", "0"],
            ["--bot-thinking", "deep"],
            ["--bot-search", "perhaps"],
            ["--gemini-models", "gemini-a="],
        ] {
            let error = parsed(&flags).unwrap_err();
            assert!(error.contains(flags[0]), "{flags:?}: {error}");
        }
    }

    #[test]
    fn an_address_is_refused_by_name_and_never_printed() {
        for (flag, name) in [
            ("--gemini-base-url", "GEMINI_BASE_URL"),
            ("--openai-base-url", "OPENAI_BASE_URL"),
        ] {
            for address in [
                "ftp://host/a-secret",
                "http://generativelanguage.googleapis.com/a-secret",
                "https://host/?key=a-secret",
                "https://user:a-secret@host",
                "https://host:a-secret/",
                "a-secret",
            ] {
                let settings = parsed(&["--gemini-api-key", "a-key", flag, address]).unwrap();
                let refused = settings.check().unwrap_err();
                assert!(refused.contains(name), "{address}: {refused}");
                assert!(!refused.contains("a-secret"), "{refused}");
                assert!(!format!("{settings:?}").contains("a-secret"));
            }
        }
    }

    #[test]
    fn another_api_needs_its_own_settings_and_no_key() {
        let openai = ["--bot-model-api", "openai"];
        let error = parsed(&openai).unwrap().check().unwrap_err();
        assert!(error.contains("OPENAI_BASE_URL"), "{error}");
        let with_url = [&openai[..], &["--openai-base-url", "http://127.0.0.1:9/v1"]].concat();
        let error = parsed(&with_url).unwrap().check().unwrap_err();
        assert!(error.contains("OPENAI_MODELS"), "{error}");
        let whole = [
            &with_url[..],
            &["--openai-models", "llama3.2:3b, owner/model"],
        ]
        .concat();
        let settings = parsed(&whole).unwrap();
        assert_eq!(settings.check(), Ok(()));
        let ids: Vec<&str> = settings.models().iter().map(|one| &*one.id).collect();
        assert_eq!(ids, ["llama3.2:3b", "owner/model"]);
        assert!(parsed(&["--bot-model-api", "other"]).is_err());
    }

    #[test]
    fn a_budget_of_money_wants_a_price_for_each_model() {
        let models = [
            "--gemini-api-key",
            "a-key",
            "--gemini-models",
            "a,b",
            "--bot-budget-room-month",
            "2.50",
        ];
        let refused = parsed(&models).unwrap().check().unwrap_err();
        assert!(
            refused.contains("BOT_BUDGET_ROOM_MONTH") && refused.contains("model a"),
            "{refused}"
        );
        let one = [&models[..], &["--bot-prices", "a=1/2"]].concat();
        let refused = parsed(&one).unwrap().check().unwrap_err();
        assert!(refused.contains("model b"), "{refused}");
        let both = [&models[..], &["--bot-prices", "a=1/2,b=0/0/0"]].concat();
        let settings = parsed(&both).unwrap();
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(
            settings.budgets().words(),
            ["-", "-", "-", "m2500000", "-", "-"]
        );
        let tokens = [
            "--gemini-api-key",
            "a-key",
            "--bot-budget-person-day",
            "200000 tokens",
        ];
        assert_eq!(parsed(&tokens).unwrap().check(), Ok(()));
    }

    #[test]
    fn models_are_a_list_in_order() {
        let settings = parsed(&["--gemini-models", "models/b=The best, a"]).unwrap();
        let models = settings.models().iter();
        let models: Vec<(&str, &str)> = models.map(|one| (&*one.id, &*one.name)).collect();
        assert_eq!(models, [("b", "The best"), ("a", "a")]);
    }
}

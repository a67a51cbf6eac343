//! `cloakroom sessions revoke`: ends all of a subject, of a client or of an identity
//! provider.
//!
//! First a tombstone is written, so that nothing that began before goes on for longer than
//! its access token. Then what the index lists is ended, and last what a scan of the whole
//! table finds beside that: somebody may have deleted rows of the index. A record that
//! cannot be read or written stops nothing; what could not be done is said at the end, and
//! the command can be run again.

use super::issuer_of;
use crate::failure::Failure;
use crate::place::{Aws, Place};
use crate::{Answer, print};
use cloakroom_aws::dynamo::{DynamoStore, Seen};
use cloakroom_aws::kms::KmsRoots;
use cloakroom_domain::config::Config;
use cloakroom_domain::ended::{
    Ending, Reach, TOMBSTONE_SECONDS, client_key, provider_key, subject_key,
};
use cloakroom_domain::family::{FamilyId, FamilyState, IndexKey};
use cloakroom_domain::grant::BROWSER;
use cloakroom_domain::ports::{Clock, FindFamily, Roots, StoreError, SubjectIndex};
use cloakroom_domain::time::UnixTime;
use cloakroom_gateway::settings::Need;
use serde::Serialize;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true).args(["subject", "client", "idp"])))]
pub(crate) struct Args {
    /// The `sub` of the JWT: PROVIDER|NAME for a user, client|ID for a machine
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// All that a client holds; `cloakroom` for the browser sessions of everybody
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// All users for whom an identity provider has vouched
    #[arg(long, value_name = "ID")]
    idp: Option<String>,
    /// Counts, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// With --subject: ends what the index lists, and does not read the whole table for
    /// what it leaves out
    #[arg(long, conflicts_with_all = ["client", "idp"])]
    index_only: bool,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
}

/// How many families are ended at a time.
const AT_A_TIME: usize = 16;

/// How often a call is made that DynamoDB throttles.
const ATTEMPTS: u32 = 6;

/// How often the progress of a scan is told.
const PROGRESS: Duration = Duration::from_secs(5);

pub(super) async fn run(place: &Place, args: &Args) -> Result<Answer, Failure> {
    let config = place.config()?;
    let whose = Whose::of(args, &config)?;
    let settings = Place::settings(&[Need::Table, Need::MacKeys])?;
    let aws = Aws::connect().await?;
    let roots = KmsRoots::new(aws.kms, settings.mac_keys).roots().await?;
    let names = roots.iter().map(|root| match &whose {
        Whose::Subject { issuer, subject } => subject_key(root, issuer, subject),
        Whose::Client(id) => client_key(root, id),
        Whose::Provider(id) => provider_key(root, id),
    });
    let mut revoker = Revoker {
        store: DynamoStore::new(aws.dynamodb, settings.table),
        names: names.collect(),
        dry_run: args.dry_run,
        whose: &whose,
        now: cloakroom_aws::world().now(),
        seen: HashSet::new(),
        report: Report {
            dry_run: args.dry_run,
            ..Report::default()
        },
    };
    revoker.forbid().await;
    revoker.end_listed().await;
    if !args.index_only {
        revoker.end_found().await;
    }
    Ok(revoker.report.tell(&config, args.json))
}

/// Whose logins are to end.
#[derive(Debug)]
enum Whose {
    Subject { issuer: String, subject: String },
    Client(String),
    Provider(String),
}

impl Whose {
    /// A client or a provider may be gone from the configuration: what they left is what
    /// has to end.
    fn of(args: &Args, config: &Config) -> Result<Self, Failure> {
        let unknown = |what: &str| print::note(&format!("the configuration has no such {what}"));
        match (&args.subject, &args.client, &args.idp) {
            (Some(subject), _, _) => Ok(Self::Subject {
                issuer: issuer_of(config, subject)?.to_owned(),
                subject: subject.clone(),
            }),
            (_, Some(id), _) => {
                if id != BROWSER && config.client(id).is_none() {
                    unknown("client");
                }
                Ok(Self::Client(id.clone()))
            }
            (_, _, Some(id)) => {
                if config.identity_provider(id).is_none() {
                    unknown("identity provider");
                }
                Ok(Self::Provider(id.clone()))
            }
            _ => Err(Failure::new("say whose: --subject, --client or --idp")),
        }
    }

    /// What the items of a client's families say. Those of browser sessions say nothing.
    fn client(&self) -> Option<&str> {
        match self {
            Self::Client(id) if id == BROWSER => Some(""),
            Self::Client(id) => Some(id),
            Self::Subject { .. } | Self::Provider(_) => None,
        }
    }
}

/// What was done, and what was not.
#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    /// Active until now; in a dry run: to be revoked.
    revoked: u64,
    /// Of `revoked`, those that no row of the index lists.
    not_in_index: u64,
    over_before: u64,
    /// Listed, and not in the table any more.
    gone: u64,
    failed: u64,
    /// Rows of the index that name no login.
    unreadable: u64,
    /// Active logins of which neither the index nor the item says whose they are.
    unattributed: u64,
    /// How many items were read to find what the index does not list.
    scanned: u64,
    /// What began before this moment is refused wherever a token is issued, exchanged or
    /// refreshed, or a session slides.
    forbidden_before: Option<UnixTime>,
    /// Whether everything was done that was to be done.
    complete: bool,
    /// Why not.
    problems: Vec<String>,
}

struct Revoker<'a> {
    store: DynamoStore,
    names: Vec<IndexKey>,
    dry_run: bool,
    whose: &'a Whose,
    now: UnixTime,
    /// What was dealt with.
    seen: HashSet<FamilyId>,
    report: Report,
}

impl Revoker<'_> {
    /// Writes the tombstones. First of all: nothing that is under way may slip through
    /// between the query and the end of this. The next second, because what was started in
    /// this one was started before us.
    async fn forbid(&mut self) {
        if self.dry_run {
            return;
        }
        let (from, until) = (self.now.plus(1), self.now.plus(TOMBSTONE_SECONDS));
        let mut all = true;
        for name in &self.names {
            let mut patience = Patience::default();
            let written = loop {
                let written = self.store.end_subject(name, Reach::All, from, until).await;
                if !patience.again(&written).await {
                    break written;
                }
            };
            if let Err(error) = written {
                all = false;
                self.report
                    .problem("the tombstone could not be written", error);
            }
        }
        self.report.forbidden_before = all.then_some(from);
    }

    async fn end_listed(&mut self) {
        let mut families = Vec::new();
        for name in self.names.iter().filter(|name| name.is_listed()) {
            let listed = self.store.families_of(name).await;
            families.extend(listed.families);
            self.report.unreadable += listed.unreadable;
            if let Some(error) = listed.fault {
                self.report
                    .problem("the index could not be read to its end", error);
            }
        }
        self.end_all(families).await;
    }

    /// Reads the whole table for what the index does not list.
    async fn end_found(&mut self) {
        let store = self.store.clone();
        let mut scan = store.scan();
        let mut told = Instant::now();
        // Active, and of nobody as far as the item says; and what the index says of any.
        let (mut nobodys, mut listed) = (HashSet::new(), HashSet::new());
        let mut patience = Patience::default();
        loop {
            let page = scan.next(&self.names).await;
            if patience.again(&page).await {
                continue;
            }
            patience = Patience::default();
            let page = match page {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    self.report
                        .problem("the table could not be read to its end", error);
                    break;
                }
            };
            self.report.scanned += page.len() as u64;
            let mut found = Vec::new();
            for seen in page {
                match self.verdict(&seen) {
                    Verdict::Theirs(id) => found.push(id),
                    Verdict::Nobodys(id) => drop(nobodys.insert(id)),
                    Verdict::Other => {}
                }
                if let Seen::Listed(id) = seen {
                    listed.insert(id);
                }
            }
            found.retain(|id| !self.seen.contains(id));
            let before = self.report.revoked;
            self.end_all(found).await;
            if matches!(self.whose, Whose::Subject { .. }) {
                self.report.not_in_index += self.report.revoked - before;
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let Report {
                    scanned, revoked, ..
                } = self.report;
                print::note(&format!("{scanned} items read, {revoked} revoked so far"));
            }
        }
        // A login that is listed for somebody else is not of this subject.
        let by_index = matches!(self.whose, Whose::Subject { .. });
        let elses = |id: &FamilyId| self.seen.contains(id) || (by_index && listed.contains(id));
        nobodys.retain(|id| !elses(id));
        self.report.unattributed = nobodys.len() as u64;
    }

    fn verdict(&self, seen: &Seen) -> Verdict {
        let Seen::Family {
            id,
            over,
            expires_at,
            client,
            named,
            ends,
        } = seen
        else {
            return Verdict::Other;
        };
        let (theirs, unsaid) = match self.whose.client() {
            Some(wanted) => (client.as_deref() == Some(wanted), client.is_none()),
            None => (*ends, !named),
        };
        let alive = !over && expires_at.is_none_or(|end| !end.has_passed(self.now));
        match (theirs, unsaid && alive) {
            (true, _) => Verdict::Theirs(*id),
            (_, true) => Verdict::Nobodys(*id),
            _ => Verdict::Other,
        }
    }

    async fn end_all(&mut self, families: Vec<FamilyId>) {
        let (dry_run, mut under_way) = (self.dry_run, JoinSet::new());
        for family in families {
            if !self.seen.insert(family) {
                continue;
            }
            if under_way.len() >= AT_A_TIME
                && let Some(ended) = under_way.join_next().await
            {
                self.count(ended.ok());
            }
            let store = self.store.clone();
            under_way.spawn(async move { (family, end_one(store, family, dry_run).await) });
        }
        while let Some(ended) = under_way.join_next().await {
            self.count(ended.ok());
        }
    }

    fn count(&mut self, ended: Option<(FamilyId, Result<Ending, StoreError>)>) {
        let report = &mut self.report;
        match ended {
            Some((_, Ok(Ending::Now))) => report.revoked += 1,
            Some((_, Ok(Ending::Before))) => report.over_before += 1,
            Some((_, Ok(Ending::Gone))) => report.gone += 1,
            Some((family, Err(error))) => {
                report.failed += 1;
                let what = format!("{} could not be revoked", family.tag());
                report.problem(&what, error);
            }
            None => report.failed += 1,
        }
    }
}

enum Verdict {
    Theirs(FamilyId),
    Nobodys(FamilyId),
    Other,
}

/// What ending a family would find. What cannot be read would end.
async fn would_end(store: &DynamoStore, family: FamilyId) -> Result<Ending, StoreError> {
    match store.find_family(&family).await {
        Ok(None) => Ok(Ending::Gone),
        Ok(Some(record)) if record.state != FamilyState::Active => Ok(Ending::Before),
        Ok(Some(_)) | Err(StoreError::Malformed(_)) => Ok(Ending::Now),
        Err(error) => Err(error),
    }
}

async fn end_one(
    store: DynamoStore,
    family: FamilyId,
    dry_run: bool,
) -> Result<Ending, StoreError> {
    let mut patience = Patience::default();
    loop {
        let outcome = if dry_run {
            would_end(&store, family).await
        } else {
            store.end_unread(family, FamilyState::Revoked).await
        };
        if !patience.again(&outcome).await {
            return outcome;
        }
    }
}

/// DynamoDB may ask for patience; nothing here is worth giving up for that.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    /// Whether a call that ended so shall be made again.
    async fn again<T>(&mut self, outcome: &Result<T, StoreError>) -> bool {
        self.0 += 1;
        let again = self.0 < ATTEMPTS && matches!(outcome, Err(StoreError::Throttled(_)));
        if again {
            tokio::time::sleep(Duration::from_millis(100 << self.0)).await;
        }
        again
    }
}

impl Report {
    /// The first few say enough.
    fn problem(&mut self, what: &str, error: StoreError) {
        const MAX: usize = 10;
        if self.problems.len() < MAX {
            let why = Failure::from(error);
            self.problems
                .push(format!("{what}: {}", why.lines().join("; ")));
        }
    }

    fn tell(mut self, config: &Config, json: bool) -> Answer {
        self.complete = self.problems.is_empty()
            && (self.failed, self.unreadable, self.unattributed) == (0, 0, 0);
        if json {
            print::json(&self);
            return self.complete.into();
        }
        let Self {
            revoked,
            over_before,
            ..
        } = self;
        print::line(&if self.dry_run {
            format!("{revoked} would be revoked, {over_before} are over already")
        } else {
            format!("{revoked} revoked, {over_before} were over before")
        });
        if self.not_in_index > 0 {
            print::line(&format!(
                "{} of them were missing in the index: somebody wrote to the table",
                self.not_in_index
            ));
        }
        if !self.dry_run {
            print::line(&self.bounds(config));
        }
        for problem in &self.problems {
            print::error(problem);
        }
        if self.unreadable > 0 {
            print::error(&format!(
                "{} rows of the index name no login: somebody wrote to the table",
                self.unreadable
            ));
        }
        if self.unattributed > 0 {
            print::error(&format!(
                "{} active logins do not say whose they are: they may be of an earlier release, or somebody wrote to the table",
                self.unattributed
            ));
        }
        if !self.complete && !self.dry_run {
            print::error(
                "not everything could be ended: run it again, or end everything by `cloakroom epoch bump`",
            );
        }
        self.complete.into()
    }

    /// When what was missed is over.
    fn bounds(&self, config: &Config) -> String {
        let found = format!(
            "what was revoked is refused everywhere within {} s",
            config.revocation.max_latency
        );
        if self.forbidden_before.is_none() {
            return found;
        }
        let access = config
            .clients
            .iter()
            .filter_map(|client| client.access_token_lifetime)
            .fold(config.lifetimes.access_token, u64::max);
        format!(
            "{found}; whatever was not found ends at its next refresh, an access token at the latest after {access} s, a browser session {} s after its last use",
            config.session.idle
        )
    }
}

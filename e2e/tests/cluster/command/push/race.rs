//! Two processes that push different content to one tag at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::lab::note;
use supercargo_e2e::run::Output;
use supercargo_e2e::wait;

use super::REACHED;
use crate::output::rounds;
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, digest};

tests!(
    two_pushes_of_one_tag_leave_one_of_the_two_artifacts_whole,
    a_push_that_overtakes_another_at_any_byte_leaves_one_of_the_two_artifacts_whole,
);

/// Returns the files of an artifact, as `pull` verifies and unpacks them.
async fn pulled(case: &Case, image: &str) -> Result<Tree> {
    let into = case.directory.join("pulled");
    answer(case, &["pull", image, "--plain-http", "-o", &into.to_string_lossy()]).await?;
    let content = files::read(&into)?;
    fs_err::remove_dir_all(&into)?;
    Ok(content)
}

/// Two artifacts, and the tag that both are pushed to.
struct Race<'a> {
    case: &'a Case,
    /// Repository at its registry.
    repository: String,
    sources: [String; 2],
    contents: [Tree; 2],
    digests: [String; 2],
}

impl<'a> Race<'a> {
    async fn new(case: &'a mut Case, round: u64) -> Result<Self> {
        let contents = ["one", "two"].map(|name| tree(&[("name", name), ("round", &round.to_string())]));
        let sources = [case.source(&contents[0])?, case.source(&contents[1])?];
        let sources = sources.map(|path| path.to_string_lossy().into_owned());
        let mut digests = [String::new(), String::new()];
        for (number, source) in sources.iter().enumerate() {
            let layout = case.directory.join(format!("layout-{round}-{number}")).to_string_lossy().into_owned();
            digest(&answer(case, &["package", source, "-o", &layout]).await?)?.clone_into(&mut digests[number]);
        }
        Ok(Self { repository: case.reference("race"), case, sources, contents, digests })
    }

    fn image(&self) -> String {
        format!("{}:latest", self.repository)
    }

    async fn push(&self, number: usize, image: &str) -> Result<Output> {
        command(self.case, &["push", &self.sources[number], image, "--plain-http"]).output().await
    }

    /// Checks the tag after both processes have ended. Returns the number of those that failed.
    async fn check(&self, outputs: &[Output; 2]) -> Result<usize> {
        let (case, image) = (self.case, self.image());
        let resolved = answer(case, &["resolve", &image, "--plain-http"]).await?;
        let holder = digest(&resolved)?;
        let Some(winner) = self.digests.iter().position(|digest| digest == holder) else {
            anyhow::bail!("the tag refers to {holder}, which is neither of {:?}", self.digests);
        };
        assert_eq!(pulled(case, &image).await?, self.contents[winner]);
        let mut failures = 0;
        for (number, output) in outputs.iter().enumerate() {
            // A process that succeeded holds the tag, or was replaced by the other, which holds it then.
            if !output.exit.success() {
                failures += 1;
                ensure!(number != winner, "{holder} holds the tag and failed: {}", output.stderr);
                let is_named = output.stderr.contains("TagExists") && output.stderr.contains(holder);
                ensure!(is_named, "{}", output.stderr);
            }
            let own = format!("{}@{}", self.repository, self.digests[number]);
            assert_eq!(pulled(case, &own).await?, self.contents[number], "{own}");
        }
        ensure!(failures < 2, "both failed: {outputs:?}");
        Ok(failures)
    }
}

async fn two_pushes_of_one_tag_leave_one_of_the_two_artifacts_whole(case: &mut Case) -> Result<()> {
    let (rounds, mut failures) = (rounds("SUPERCARGO_RACES", 8)?, 0);
    for round in 0..rounds {
        // The tag exists from the second round on, with content of neither process.
        let race = Race::new(case, round).await?;
        let image = race.image();
        let (first, second) = tokio::try_join!(race.push(0, &image), race.push(1, &image))?;
        failures += race.check(&[first, second]).await.with_context(|| format!("round {round}"))?;
    }
    note(&format!("{rounds} rounds of two pushes; {failures} processes reported that the other holds the tag"));
    Ok(())
}

async fn a_push_that_overtakes_another_at_any_byte_leaves_one_of_the_two_artifacts_whole(
    case: &mut Case,
) -> Result<()> {
    let (rounds, mut failures, mut winners) = (rounds("SUPERCARGO_RACES", 16)?, 0, [0, 0]);
    let gate = Gate::open(&case.lab.registry.address).await?;
    let slow = format!("{}/{}:latest", gate.address, case.repository("race"));
    // The second is about as long as those of the rounds: the config is there already, and the tag is.
    let mut traffic = 0;
    for round in [rounds, rounds + 1] {
        let before = gate.moved();
        let measured = Race::new(case, round).await?.push(0, &slow).await?;
        ensure!(measured.exit.success(), "{}", measured.stderr);
        traffic = gate.moved() - before;
    }
    for round in 0..rounds {
        let race = Race::new(case, round).await?;
        // Half of the rounds are in the last part, which has the manifest and the tag.
        let bytes = match round % 2 {
            0 => traffic * round / rounds,
            _ => traffic - traffic / 4 * (rounds - round) / rounds,
        };
        gate.hold_after(bytes);
        let has_ended = AtomicBool::new(false);
        let slow_push = async {
            let output = race.push(0, &slow).await;
            has_ended.store(true, Ordering::Relaxed);
            output
        };
        let overtaking = async {
            let reached = || Ok(gate.is_holding() || has_ended.load(Ordering::Relaxed));
            wait::until_true(REACHED, "the slow process to be held, or to end", reached).await?;
            let fast = race.push(1, &race.image()).await?;
            ensure!(fast.exit.success(), "the fast process failed: {}", fast.stderr);
            gate.resume();
            Ok(fast)
        };
        let (slow, fast) = tokio::try_join!(slow_push, overtaking)?;
        winners[usize::from(!slow.exit.success())] += 1;
        let context = || format!("round {round}, overtaken after {bytes} of {traffic} bytes");
        failures += race.check(&[slow, fast]).await.with_context(context)?;
    }
    note(&format!("overtaken at {rounds} bytes; {failures} slow processes reported that the other holds the tag"));
    ensure!(failures > 0 && winners[0] > 0, "the rounds were all on one side of the write of the tag");
    Ok(())
}

//! Reports to Root once that the ledger cannot be written, and once that it can be again.

use crate::actors::messages::Report;
use crate::ledger::LedgerError;
use actix::Recipient;

/// What was last reported to Root about the ledger.
#[derive(Debug, Default)]
pub(crate) struct LedgerReports {
    told_unwritable: bool,
}

impl LedgerReports {
    /// An append failed. A report that finds Root's mailbox full is sent with the next failure.
    pub(crate) fn failed(&mut self, error: &LedgerError, root: &Recipient<Report>) {
        if !self.told_unwritable {
            tracing::error!(error = %error, "failed to append to the ledger: nothing new is published until it can be written");
            let reason = error.reason();
            let cause = error.to_string();
            self.told_unwritable = root.try_send(Report::LedgerUnwritable { reason, cause }).is_ok();
        }
    }

    /// An append succeeded.
    pub(crate) fn succeeded(&mut self, root: &Recipient<Report>) {
        if self.told_unwritable && root.try_send(Report::LedgerWritable).is_ok() {
            tracing::info!("the ledger can be written again");
            self.told_unwritable = false;
        }
    }
}

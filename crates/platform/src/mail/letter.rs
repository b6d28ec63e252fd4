//! The words of a mail: plain text, in the language of whoever caused it.

use crate::catalog::{Language, Message};
use crate::clock::Moment;
use crate::store::mails::Kind;

/// A mail, ready to be sent.
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl Letter {
    /// `links` are accounts with what each shall follow.
    pub(super) fn new(
        kind: Kind,
        to: String,
        links: &[(String, String)],
        expires_at: Moment,
        language: Language,
    ) -> Self {
        let (subject, lead, note) = match kind {
            Kind::Verify => (Message::MailVerifySubject, Message::MailVerifyLead, Message::MailVerifyNote),
            Kind::Reset => (Message::MailResetSubject, Message::MailResetLead, Message::MailResetNote),
            Kind::Moved => (Message::MailMovedSubject, Message::MailMovedLead, Message::MailMovedNote),
            Kind::Approved => (Message::MailApprovedSubject, Message::MailApprovedLead, Message::MailApprovedNote),
        };
        let say = |message: Message| message.text(language);
        let mut text = format!("{}\r\n\r\n", say(lead));
        for (account, link) in links {
            text += &format!("{}\r\n{link}\r\n\r\n", say(Message::MailAccount { account: account.clone() }));
        }
        if matches!(kind, Kind::Verify | Kind::Reset) {
            text += &format!(
                "{}\r\n",
                say(Message::MailExpires { at: expires_at.to_string().replace('T', " ").replace('Z', " UTC") })
            );
        }
        text += &format!("{}\r\n\r\n-- \r\n{}\r\n", say(note), say(Message::MailSignature));
        Self { to, subject: say(subject), text }
    }
}

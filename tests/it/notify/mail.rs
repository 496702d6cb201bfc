//! Mail through a real SMTP server.

use super::Scene;
use crate::support::alerting::{CLEAR, fires};
use crate::support::db::on_both;
use crate::support::smtp::Smtp;
use devpulse::config::model::Severity::{Page, Ticket};

fn yaml(url: &str) -> String {
    format!(
        "receivers: [{{name: oncall, email: {{to: [oncall@example.com, 'Boss <boss@example.com>']}}}}]
smtp: {{url: '{url}', from: 'DevPulse <devpulse@example.com>'}}
route: {{receiver: oncall, group_by: [service]}}"
    )
}

on_both! {
    async fn an_incident_is_one_thread(db: TestDb) {
        let smtp = Smtp::start().await;
        let scene = Scene::new(&db.store, &yaml(&smtp.url()));
        scene.see("a", fires(Ticket, "Budget <burns> & more")).await;
        scene.see("a", fires(Page, "Budget <burns> & more")).await;
        scene.see("a", CLEAR).await;
        let mails = smtp.messages();
        assert_eq!(mails.len(), 3, "{mails:?}");
        let header = |mail: usize, name: &str| mails[mail]["headers"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(mails[0]["to"], serde_json::json!(["oncall@example.com", "boss@example.com"]));
        assert_eq!(mails[0]["from"], "devpulse@example.com");
        let subjects: Vec<String> = (0..3).map(|mail| header(mail, "subject")).collect();
        assert_eq!(
            subjects,
            ["TICKET", "PAGE", "RESOLVED"].map(|word| format!("[{word}] checkout/production: Budget <burns> & more"))
        );
        let root = header(0, "message-id");
        assert!(root.ends_with("@example.com>"), "{root}");
        assert_eq!(header(0, "in-reply-to"), "");
        for mail in [1, 2] {
            assert_eq!(header(mail, "in-reply-to"), root);
            assert_eq!(header(mail, "references"), root);
            assert_ne!(header(mail, "message-id"), root);
        }
        let (text, html) = (mails[0]["parts"]["text/plain"].as_str().unwrap(), mails[0]["parts"]["text/html"].as_str().unwrap());
        assert!(text.contains("Budget <burns> & more") && text.contains("burn over 1h: 20.1×"), "{text}");
        assert!(html.contains("Budget &lt;burns&gt; &amp; more") && html.contains("20.1×"), "{html}");
        let last = mails[2]["parts"]["text/plain"].as_str().unwrap();
        assert!(last.contains("✅ Resolved after"), "{last}");
    }

    async fn a_server_that_is_away_gets_the_mail_when_it_is_back(db: TestDb) {
        let port = crate::support::ports::free();
        let mut scene = Scene::new(&db.store, &yaml(&format!("smtp://127.0.0.1:{port}")));
        let alert = scene.see("a", fires(Page, "Budget burns")).await;
        let waiting = scene.deliveries(&alert).await;
        assert_eq!((waiting[0].state.as_str(), waiting[0].attempts), ("pending", 1));
        assert!(waiting[0].error.as_ref().unwrap().starts_with("SMTP: "), "{waiting:?}");
        let smtp = Smtp::start().await;
        scene.config = crate::support::alerting::config(&yaml(&smtp.url()));
        scene.dispatcher.replace(devpulse::notify::Notifiers::of(&scene.config));
        scene.after(1).await;
        assert_eq!(smtp.messages().len(), 1);
        assert_eq!(scene.deliveries(&alert).await[0].state, "sent");
    }

    async fn plain_text_is_refused_where_tls_is_required(db: TestDb) {
        let smtp = Smtp::start().await;
        let scene = Scene::new(&db.store, &yaml(&format!("{}?tls=required", smtp.url())));
        let alert = scene.see("a", fires(Page, "Budget burns")).await;
        assert!(smtp.messages().is_empty());
        assert_ne!(scene.deliveries(&alert).await[0].state, "sent");
    }
}

"""What a mail to a bounce address says: reports for programs, servers' texts, robots, people."""

import pytest
from bounce_mails import RETURNED, US, failed, mail, parts, report

from posthouse.domain.event import BounceClass
from posthouse.ingest.bounce_mail import classify
from posthouse.ingest.bounces.report import Kind, Report
from posthouse.replies.bounce_rules import Action, Reason

ANN, BOB = "ann@example.net", "bob@example.com"


def said(found: Report) -> list[tuple[str, Action, Reason]]:
    return [(one.address, one.action, one.reason) for one in found.recipients]


def one(found: Report) -> tuple[Kind, str, Action, Reason]:
    [recipient] = found.recipients
    return found.kind, recipient.address, recipient.action, recipient.reason


# ---- reports for programs ----------------------------------------------------------------------------------


def test_a_report_names_recipient_reason_and_mail() -> None:
    found = classify(report(failed(ANN, "550 5.1.1 <ann@example.net>: user unknown", "5.1.1")))
    assert one(found) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)
    [recipient] = found.recipients
    assert recipient.bounce is BounceClass.HARD
    assert recipient.status == "5.1.1"
    assert recipient.diagnostic == "550 5.1.1 <ann@example.net>: user unknown"
    assert found.original.message_id == "<m1@shop.example>"
    assert found.original.posthouse_id == "0193a5b0-0000-7000-8000-000000000001.1"
    assert found.original.envelope_id == "E1"
    assert found.original.feedback_id == "c1:shop"


def test_each_recipient_has_its_own_end() -> None:
    found = classify(
        report(
            failed(ANN, "550 5.1.1 no such user"),
            failed(BOB, "552 5.2.2 over quota", "5.2.2"),
            "Final-Recipient: rfc822; cat@example.org\nAction: delivered\nStatus: 2.0.0",
            "Final-Recipient: rfc822; dan@example.org\nAction: delayed\nStatus: 4.4.1",
        )
    )
    assert found.kind is Kind.BOUNCE
    assert said(found) == [
        (ANN, Action.SUPPRESS, Reason.USER_UNKNOWN),
        (BOB, Action.RETRY, Reason.MAILBOX_FULL),
    ]


@pytest.mark.parametrize(
    "status_type",
    ["message/delivery-status", "message/global-delivery-status", "text/plain", "text/delivery-status"],
)
def test_a_report_of_another_type_is_read_all_the_same(status_type: str) -> None:
    found = classify(report(failed(ANN, "550 user unknown"), status_type=status_type))
    assert one(found) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)


def test_recipients_without_blank_lines_between_them() -> None:
    together = failed(ANN, "550 user unknown").rstrip() + "\n" + failed(BOB, "552 mailbox full")
    assert said(classify(report(together))) == [
        (ANN, Action.SUPPRESS, Reason.USER_UNKNOWN),
        (BOB, Action.RETRY, Reason.MAILBOX_FULL),
    ]


def test_fields_of_one_recipient_with_blank_lines_between_them() -> None:
    apart = failed(ANN, "550 user unknown").replace("Status:", "\n        Status:")
    assert one(classify(report(apart))) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)


def test_the_address_we_wrote_to_comes_before_the_one_it_was_forwarded_to() -> None:
    fields = f"Original-Recipient: rfc822;{ANN}\n        " + failed(BOB, "550 user unknown").lstrip()
    assert one(classify(report(fields)))[1] == ANN


def test_addresses_of_any_script() -> None:
    fields = failed("x", "550 user unknown").replace("rfc822; x", "utf-8; 用户@例子.example")
    assert (
        one(classify(report(fields, status_type="message/global-delivery-status")))[1] == "用户@例子.example"
    )


@pytest.mark.parametrize(
    ("action", "status", "kind", "done"),
    [
        ("delayed", "4.4.1", Kind.DELAYED, Action.NONE),
        ("delayed (will retry)", "5.1.1", Kind.DELAYED, Action.NONE),
        ("delivered", "2.1.5", Kind.DELIVERED, Action.NONE),
        ("relayed", "2.1.9", Kind.DELIVERED, Action.NONE),
        ("expanded", "2.0.0", Kind.DELIVERED, Action.NONE),
        ("failed", "4.0.0", Kind.BOUNCE, Action.RETRY),
        ("failed", "5.1.1", Kind.BOUNCE, Action.SUPPRESS),
        ("FAILED", "5.1.1 (no such user)", Kind.BOUNCE, Action.SUPPRESS),
    ],
)
def test_what_a_report_says_happened(action: str, status: str, kind: Kind, done: Action) -> None:
    fields = f"Final-Recipient: rfc822; {ANN}\nAction: {action}\nStatus: {status}"
    found = classify(report(fields))
    assert (found.kind, found.recipients[0].action) == (kind, done)


def test_a_report_without_words_is_decided_by_its_text() -> None:
    text = f"The following recipients failed.\n\n<{ANN}>: the mailbox is full\n"
    fields = f"Final-Recipient: rfc822; {ANN}\nAction: failed\nStatus: 5.0.0"
    assert one(classify(report(fields, text=text)))[3] is Reason.MAILBOX_FULL


def feedback(kind: str, *fields: str) -> bytes:
    told = "\n".join((f"Feedback-Type: {kind}", "User-Agent: Loop/1.0", "Version: 1", *fields))
    return parts(
        ("text/plain", "This is an email abuse report."),
        ("message/feedback-report", told),
        ("message/rfc822", RETURNED),
        kind='multipart/report; report-type=feedback-report; boundary="b1"',
    )


def test_a_complaint_suppresses_whom_it_names() -> None:
    found = classify(feedback("abuse", f"Original-Rcpt-To: <{BOB}>"))
    assert one(found) == (Kind.COMPLAINT, BOB, Action.SUPPRESS, Reason.FEEDBACK)
    assert found.original.posthouse_id


def test_a_complaint_that_hides_its_author_is_about_the_returned_mails_recipient() -> None:
    assert one(classify(feedback("abuse", "Original-Rcpt-To: redacted@example.net")))[1] == ANN


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
def test_feedback_that_is_no_complaint(kind: str) -> None:
    found = classify(feedback(kind))
    assert (found.kind, found.recipients) == (Kind.OTHER, ())


def test_a_read_receipt_says_nothing_about_delivery() -> None:
    receipt = parts(
        ("text/plain", "Your message was read."),
        (
            "message/disposition-notification",
            f"Final-Recipient: rfc822; {ANN}\nDisposition: manual-action; displayed",
        ),
        kind='multipart/report; report-type=disposition-notification; boundary="b1"',
        subject="Read: Your order",
    )
    assert classify(receipt).kind is Kind.OTHER


# ---- servers' texts ----------------------------------------------------------------------------------------

SHAPES = {
    "qmail": """
        Hi. This is the qmail-send program at mx.example.org.
        I'm afraid I wasn't able to deliver your message to the following addresses.
        This is a permanent error; I've given up. Sorry it didn't work out.

        <ann@example.net>:
        Sorry, no mailbox here by that name. (#5.1.1)

        --- Below this line is a copy of the message.

        """,
    "opensmtpd": """
            Hi!

            This is the MAILER-DAEMON, please DO NOT REPLY to this email.

            An error has occurred while attempting to deliver a message for
            the following list of recipients:

        ann@example.net: Domain does not exist

            Below is a copy of the original message:

        """,
    "exim": """
        This message was created automatically by mail delivery software.

        A message that you sent could not be delivered to one or more of its
        recipients. This is a permanent error. The following address(es) failed:

          ann@example.net
            SMTP error from remote mail server after RCPT TO:<ann@example.net>:
            host mx.example.net [192.0.2.9]: 550 5.1.1 <ann@example.net>... User unknown

        ------ This is a copy of the message, including all the headers. ------

        """,
    "sendmail": """
        The original message was received at Tue, 24 Nov 2026 10:00:00 +0000
        from shop.example [192.0.2.7]

           ----- The following addresses had permanent fatal errors -----
        <ann@example.net>
            (reason: 550 5.1.1 <ann@example.net>... User unknown)

           ----- Transcript of session follows -----
        ... while talking to mx.example.net.:
        >>> RCPT To:<ann@example.net>
        <<< 550 5.1.1 <ann@example.net>... User unknown
        550 5.1.1 <ann@example.net>... User unknown

           ----- Original message follows -----

        """,
    "exchange 2003": """
        Your message did not reach some or all of the intended recipients.

              Subject: mailbox full
              Sent:    24.11.2026 10:00

        The following recipient(s) could not be reached:

              ann@example.net on 24.11.2026 10:01
                    The e-mail account does not exist at the organization this message was sent to.
                    <mx.example.net #5.1.1>

        """,
    "office 365": """
        Delivery has failed to these recipients or groups:

        ann@example.net<mailto:ann@example.net>
        The email address you entered couldn't be found. Please check the recipient's email address.

        Diagnostic information for administrators:

        Generating server: AM0PR01.prod.outlook.com

        ann@example.net
        Remote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found'

        Original message headers:

        """,
    "domino": """
        Your message

          Subject: Offer

        was not delivered to:

          ann@example.net

        because:

          User Ann (ann@example.net) not listed in Domino Directory

        """,
    "google": """
        Delivery to the following recipient failed permanently:

             ann@example.net

        Technical details of permanent failure:
        Google tried to deliver your message, but it was rejected by the server for the recipient domain.

        The error that the other server returned was:
        550 5.1.1 The email account that you tried to reach does not exist.

           ----- Original message -----

        """,
    "yahoo": """
        Sorry, we were unable to deliver your message to the following address.

        <ann@example.net>:
        554: delivery error: dd This user doesn't have an example.net account (ann@example.net) [-5]

        --- Below this line is a copy of the message.

        """,
    "imail": """
        Unknown user: ann@example.net


        Original message follows.

        """,
    "gmx": """
        Ihre Nachricht konnte nicht zugestellt werden:

        "ann@example.net"
        550 5.1.1 Unbekannter Empfänger

        --- The header of the original message is following. ---

        """,
    "orange": """
        Votre message n'a pas pu être délivré à l'adresse suivante :

        <ann@example.net>: 550 5.1.1 Adresse d au moins un destinataire invalide. OFR_416

        """,
    "libero": """
        Il messaggio non è stato consegnato.

        ann@example.net: utente sconosciuto

        """,
    "terra": """
        Su mensaje no pudo ser entregado a:

        <ann@example.net>: 550 el usuario no existe

        """,
    "mail.ru": """
        К сожалению, Ваше письмо не может быть доставлено одному или нескольким получателям:

        ann@example.net
        пользователь не найден

        """,
    "a japanese carrier": """
        次のあて先へのメッセージはエラーのため送信できませんでした。

        <ann@example.net>:
        あて先のメールアドレスが見つかりませんでした。550 Unknown user

        """,
    "qq": """
        您的邮件被退回，原因：收件人不存在。

        收件人：ann@example.net

        """,
    "naver": """
        메일이 전송에 실패하였습니다.

        받는사람: ann@example.net
        존재하지 않는 사용자입니다.

        """,
    "groupwise": """
        The message that you sent was undeliverable to the following:
            ann@example.net (user not found)

        """,
    "messaging server": """
        This report relates to a message you sent with the following header fields:

          Message-id: <m1@shop.example>
          From: hello@shop.example
          Subject: mailbox full

        Your message cannot be delivered to the following recipients:

          Recipient address: ann@example.net
          Reason: Illegal host/domain name found
          Diagnostic code: smtp;550 5.1.1 unknown or illegal alias

        """,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_servers_that_write_for_people(shape: str) -> None:
    text = SHAPES[shape].lstrip("\n") + RETURNED.replace("\n", "\n        ")
    kind, address, action, _ = one(classify(mail(text)))
    assert (kind, address, action) == (Kind.BOUNCE, ANN, Action.SUPPRESS)


def test_iso_2022_jp_without_a_label() -> None:
    text = "次のあて先へのメッセージはエラーのため送信できませんでした。\n\n<ann@example.net>: 宛先不明\n"
    raw = mail("") + text.encode("iso-2022-jp")
    assert one(classify(raw)) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)


def test_html_only() -> None:
    page = f"<html><style>p {{ }}</style><p>Your message wasn't delivered to <a href='mailto:{ANN}'>{ANN}</a>\
<br>because the address couldn&#39;t be found.</p></html>"
    raw = mail(page, content_type="text/html; charset=utf-8")
    assert one(classify(raw)) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)


def test_the_diagnosis_is_the_paragraph_that_says_why() -> None:
    text = f"""
        Your message could not be delivered.

        {ANN}
          The recipient's mailbox is full

        Please write to our postmaster.
        """
    (found,) = classify(mail(text)).recipients
    assert found.diagnostic == f"{ANN} The recipient's mailbox is full"


def test_a_group_that_may_not_exist_is_not_taken_for_one_that_does_not() -> None:
    text = """
        We're writing to let you know that the group you tried to contact (ladies) may not exist, or you may
        not have permission to post messages to the group.
        """
    raw = mail(text, x_failed_recipients=ANN)
    assert one(classify(raw)) == (Kind.BOUNCE, ANN, Action.NONE, Reason.RESTRICTED)


def test_several_recipients_in_a_text() -> None:
    text = f"""
        This is the mail system at host mx.example.org.

        <{ANN}>: host mx.example.net[192.0.2.9] said: 550 5.1.1 user unknown (in reply to RCPT TO command)

        <{BOB}>: host mx.example.com[192.0.2.8] said: 552 5.2.2 mailbox full (in reply to RCPT TO command)

        <cat@example.org>: host mx.example.org[192.0.2.6] said: 550 5.7.1 spam (in reply to end of DATA)
        """
    assert said(classify(mail(text))) == [
        (ANN, Action.SUPPRESS, Reason.USER_UNKNOWN),
        (BOB, Action.RETRY, Reason.MAILBOX_FULL),
        ("cat@example.org", Action.NONE, Reason.SPAM),
    ]


def test_x_failed_recipients() -> None:
    raw = mail("Sorry.\n\n550 5.1.1 user unknown\n", x_failed_recipients=f"{ANN},\n {BOB}")
    assert [address for address, _, _ in said(classify(raw))] == [ANN, BOB]


def test_a_recipient_that_only_the_returned_mail_names() -> None:
    raw = mail(
        "Hi. This is the qmail-send program at mx.example.org.\nNo mailbox here by that name.\n\n" + RETURNED
    )
    assert one(classify(raw)) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)


def test_a_bounce_that_names_nobody_still_says_why() -> None:
    found = classify(mail("Hi. This is the qmail-send program at mx.example.org.\nThe mailbox is full.\n"))
    assert one(found) == (Kind.BOUNCE, "", Action.RETRY, Reason.MAILBOX_FULL)


def test_what_is_said_before_the_recipient_is_not_about_them() -> None:
    text = f"""
        This is the mail system at host mx.example.org.

        <{ANN}>: host mx.example.net[192.0.2.9] said: 550 5.1.1 user unknown (in reply to MAIL FROM command)
        """
    assert one(classify(mail(text)))[2:] == (Action.NONE, Reason.SENDER_REJECTED)


@pytest.mark.parametrize(
    "text",
    [
        f"THIS IS A WARNING MESSAGE ONLY.\nYOU DO NOT NEED TO RESEND IT.\n\n<{ANN}>: 450 user unknown\n",
        f"A message that you sent has not yet been delivered to {ANN}.\nNo action is required by you.\n",
        f"Delivery to the following recipient has been delayed:\n\n {ANN}\n\nWill be retried for 2 days\n",
        f"A message is delayed for more than 4 hours for these recipients:\n\n{ANN}: Network error\n",
    ],
)
def test_a_server_that_still_tries(text: str) -> None:
    kind, address, action, _ = one(classify(mail(text)))
    assert (kind, address, action) == (Kind.DELAYED, ANN, Action.NONE)


def test_a_carriers_filter_is_not_an_unknown_user() -> None:
    text = """
        This is the mail system at host mx.example.org.

        <ann@docomo.ne.jp>: host mfsmax.docomo.ne.jp[192.0.2.9] said: 550 Unknown user ann@docomo.ne.jp
        (in reply to {stage} command)
        """
    after, before = (text.format(stage=stage) for stage in ("end of DATA", "RCPT TO"))
    assert one(classify(mail(after)))[2:] == (Action.NONE, Reason.RESTRICTED)
    assert one(classify(mail(before)))[2:] == (Action.SUPPRESS, Reason.USER_UNKNOWN)


def test_a_report_that_a_scanner_packed_up_whole() -> None:
    inner = report(failed(ANN, "550 user unknown")).decode().replace("b1", "b2")
    raw = parts(("message/rfc822", inner), kind='multipart/mixed; boundary="b1"')
    assert one(classify(raw)) == (Kind.BOUNCE, ANN, Action.SUPPRESS, Reason.USER_UNKNOWN)


PERSON = (b"MAILER-DAEMON@mx.example.org", b"eve@example.org"), (b"Delivery Status", b"Re: Delivery Status")


@pytest.mark.parametrize("inner_type", ["message/rfc822", "text/plain"])
def test_a_report_that_a_person_forwards_or_quotes_is_about_nobody(inner_type: str) -> None:
    inner = report(failed(ANN, "550 user unknown")).decode().replace("b1", "b2")
    raw = parts(("text/plain", "What is this?"), (inner_type, inner), kind='multipart/mixed; boundary="b1"')
    for daemons, persons in PERSON:
        raw = raw.replace(daemons, persons, 1)
    assert classify(raw).kind is Kind.OTHER


def test_a_returned_mail_without_a_type_is_not_read() -> None:
    text = f"The following address(es) failed:\n\n  {ANN}\n    the mailbox is full"
    raw = parts(("text/plain", text), kind='multipart/mixed; boundary="b1"')
    raw = raw.replace(b"--b1--", b"--b1\n" + RETURNED.encode() + b"--b1--")
    assert one(classify(raw)) == (Kind.BOUNCE, ANN, Action.RETRY, Reason.MAILBOX_FULL)


def notification(text: str, **head: str) -> bytes:
    sender = "Topic <no-reply@sns.amazonaws.com>"
    return mail(text, sender=sender, subject="AWS Notification Message", **head)


BOUNCED = f"""{{"notificationType":"Bounce","bounce":{{"bounceType":"Permanent","bouncedRecipients":[
{{"emailAddress":"{ANN}","action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user unknown"}},
{{"emailAddress":"{BOB}"}}]}}}}"""
COMPLAINED = (
    f"""{{"eventType":"Complaint","complaint":{{"complainedRecipients":[{{"emailAddress":"{ANN}"}}]}}}}"""
)


def test_notifications_by_mail() -> None:
    found = classify(notification(BOUNCED, x_amz_sns_message_id="1"))
    assert said(found) == [(ANN, Action.SUPPRESS, Reason.USER_UNKNOWN), (BOB, Action.RETRY, Reason.UNKNOWN)]
    complaint = classify(notification(COMPLAINED, x_amz_sns_message_id="1"))
    assert one(complaint) == (Kind.COMPLAINT, ANN, Action.SUPPRESS, Reason.FEEDBACK)


def test_a_mail_that_quotes_a_notification_is_none() -> None:
    raw = mail(BOUNCED, sender="ann@example.net", subject="Re: Bounces", in_reply_to="<m1@shop.example>")
    assert classify(raw).recipients == ()


def test_junk_mail_reports_without_a_feedback_part() -> None:
    returned = f"X-HmXmrOriginalRecipient: {BOB}\n{RETURNED}"
    raw = parts(
        ("message/rfc822", returned), kind='multipart/mixed; boundary="b1"', subject="complaint about message"
    )
    assert one(classify(raw)) == (Kind.COMPLAINT, BOB, Action.SUPPRESS, Reason.FEEDBACK)


# ---- robots and people -------------------------------------------------------------------------------------

ANSWERS = {
    "vacation": mail(
        "I am on leave. My mailbox is full. Write to bob@example.com, user unknown.\n",
        sender="Ann <ann@example.net>", subject="Out of office: Your order", auto_submitted="auto-replied",
    ),
    "vacation with an empty return path": mail(
        "Ich bin bis Montag nicht im Haus. Die Adresse existiert nicht mehr.\n",
        sender="ann@example.net", subject="Automatische Antwort: Angebot", return_path="<>",
    ),
    "left the company": mail(
        "This account has been closed. Ann no longer works here.\n",
        sender="ann@example.net", subject="Auto: Your order", x_autoreply="yes",
    ),
    "in japanese": mail(
        "休暇中です。宛先が見つかりません。\n", sender="ann@example.net", subject="自動応答: 注文"
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_robot_that_answers_for_a_person_is_no_bounce(answer: str) -> None:
    assert one(classify(ANSWERS[answer])) == (Kind.AUTO_REPLY, ANN, Action.NONE, Reason.VACATION)


OTHERS = {
    "an answer": mail(
        f"> 550 5.1.1 <{ANN}>: user unknown\nI got this: your message could not be delivered. Why?\n",
        sender="Ann <ann@example.net>", subject="Re: Your order", in_reply_to="<m1@shop.example>",
    ),
    "a newsletter": mail(
        "How to read a bounce: 550 5.1.1 user unknown means that there is no such mailbox.\n",
        sender="News <news@example.org>", subject="Ten things about deliverability",
    ),
    "a newsletter that quotes a bounce": mail(
        f"Read on.\n{'Much text. ' * 80}\nYour message could not be delivered to {ANN}: no such user.\n",
        sender="News <news@example.org>", subject="This week",
    ),
    "a newsletter that begins with one": mail(
        f"Your message could not be delivered to {ANN}: no such user.\n",
        sender="News <news@example.org>", subject="This week", list_unsubscribe="<https://example.org/u>",
    ),
    "a newsletter about bounces": mail(
        f"This week: user unknown, mailbox full, and what 550 5.1.1 <{ANN}> means.\n",
        sender="News <news@example.org>", subject="Undeliverable: why mail comes back",
        list_unsubscribe="<https://example.org/u>",
    ),
    "someone who left": b"Return-Path: <>\n" + mail(
        f"I have left the company, and this address is no longer valid. Please write to {BOB}.\n",
        sender=ANN, subject="I have left",
    ),
    "moderation": mail(
        "Your mail to 'offers' is being held until the list moderator can review it for approval.\n",
        sender="offers-bounces@lists.example.org", subject="Your message awaits moderator approval",
    ),
    "a challenge": mail(
        "Please confirm that you sent this message to ann@example.net.\n",
        sender="ann@example.net", subject="Please confirm", auto_submitted="auto-generated",
    ),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_about_delivery_does_nothing(other: str) -> None:
    found = classify(OTHERS[other])
    assert (found.kind, found.recipients) == (Kind.OTHER, ())


def test_our_own_addresses_are_never_recipients() -> None:
    text = f"Your message from <{US}> could not be delivered.\nContact postmaster@mx.example.org.\nno user\n"
    assert one(classify(mail(text)))[1] == ""

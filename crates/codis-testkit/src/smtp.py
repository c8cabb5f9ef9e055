"""A mail server that keeps what it gets. Settings come as environment variables of the process that starts it."""

import asyncio
import os
import pathlib
import ssl
from email import message_from_bytes
from email.policy import default

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

env = os.environ
box = pathlib.Path(env["BOX"])


class Keep:
    """Writes each mail into the box. The file `N.raw` comes last: then all of it is there."""

    def __init__(self):
        self.count = len(list(box.glob("*.raw")))

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=default)
        number = f"{self.count:05}"
        self.count += 1
        about = [
            envelope.mail_from,
            ",".join(envelope.rcpt_tos),
            "tls" if server.transport.get_extra_info("sslcontext") else "plain",
            session.auth_data.login.decode() if session.auth_data else "",
            str(mail["subject"]),
        ]
        (box / f"{number}.about").write_text("\n".join(about))
        for part, kind in (("text", "plain"), ("html", "html")):
            body = mail.get_body(preferencelist=(kind,))
            (box / f"{number}.{part}").write_text(body.get_content() if body else "")
        (box / f"{number}.new").write_bytes(envelope.content)
        (box / f"{number}.new").rename(box / f"{number}.raw")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    fine = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (
        env["LOGIN"],
        env["PASSWORD"],
    )
    return AuthResult(success=fine, handled=False, auth_data=data if fine else None)


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(env["CERT"], env["KEY"])
    return made


options = {}
if env["SECURITY"] == "starttls":
    options.update(tls_context=context(), require_starttls=True)
if env["LOGIN"]:
    options.update(authenticator=authenticate, auth_required=True, auth_require_tls=False)

loop = asyncio.new_event_loop()
keep = Keep()
loop.run_until_complete(
    loop.create_server(
        lambda: SMTP(keep, loop=loop, hostname="localhost", **options),
        host="127.0.0.1",
        port=int(env["PORT"]),
        ssl=context() if env["SECURITY"] == "tls" else None,
    )
)
print("ready", flush=True)
loop.run_forever()

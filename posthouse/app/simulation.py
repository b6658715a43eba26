"""The pretend side of a house."""

import msgspec

from posthouse.app.adapters import vendor_account
from posthouse.config import Settings
from posthouse.simulator.settings import MailgunAccount as SimulatedMailgun
from posthouse.simulator.settings import PostmarkAccount as SimulatedPostmark
from posthouse.simulator.settings import SendGridAccount as SimulatedSendGrid
from posthouse.simulator.settings import SesAccount as SimulatedSes
from posthouse.simulator.settings import SimulatorSettings
from posthouse.simulator.settings import SmtpAccount as SimulatedSmtp


def simulation(settings: Settings) -> SimulatorSettings:
    """The pretend side of every relay with `simulator = true`."""
    house, knobs = settings.house, settings.simulation
    hooks = f"http://{house.host}:{house.api_port}/hooks"
    vendors = {a: vendor_account(a, settings) for a, table in settings.relays.items() if table.simulator}
    sides = [vendor.simulated(f"{hooks}/{vendor.kind}/{account}") for account, vendor in vendors.items()]
    return SimulatorSettings(
        folder=settings.data_dir / "simulator",
        host=house.host,
        control_port=knobs.control_port,
        seed=knobs.seed,
        time_scale=knobs.time_scale,
        keep_bodies=knobs.keep_bodies,
        smtp=tuple(_with_returns(side, settings) for side in sides if isinstance(side, SimulatedSmtp)),
        sendgrid=tuple(side for side in sides if isinstance(side, SimulatedSendGrid)),
        mailgun=tuple(side for side in sides if isinstance(side, SimulatedMailgun)),
        postmark=tuple(side for side in sides if isinstance(side, SimulatedPostmark)),
        ses=tuple(side for side in sides if isinstance(side, SimulatedSes)),
    )


def _with_returns(side: SimulatedSmtp, settings: Settings) -> SimulatedSmtp:
    """Plain SMTP tells of late bounces and complaints by mail, to the inbound listener where there is one."""
    inbound = settings.inbound
    return msgspec.structs.replace(
        side,
        returns_host=inbound.host or settings.house.host,
        returns_port=inbound.port,
        feedback_address=next(iter(inbound.feedback_addresses), ""),
    )

//! What the paper says today. All of it is made up.

/// One article.
#[derive(Debug)]
pub(super) struct Article {
    /// Last part of its path.
    pub(super) slug: &'static str,
    /// Its section.
    pub(super) section: &'static str,
    /// Headline.
    pub(super) title: &'static str,
    /// The sentence below it.
    pub(super) standfirst: &'static str,
    /// Who wrote it.
    pub(super) author: &'static str,
    /// Hours before the paper was printed.
    pub(super) hours_old: u64,
    /// Its paragraphs.
    pub(super) text: &'static [&'static str],
    /// A sentence from it, set large.
    pub(super) quote: &'static str,
    /// What its picture shows.
    pub(super) picture: &'static str,
}

/// Sections: the last part of their path, their name, and what they are about.
pub(super) const SECTIONS: [(&str, &str, &str); 3] = [
    ("harbour", "Harbour", "Ships, tides and the people who wait for both."),
    ("town", "Town", "What is decided, built and argued over on dry land."),
    ("weekend", "Weekend", "Slow reading, with a view of the water."),
];

/// The articles, the leading one first.
pub(super) const ARTICLES: [Article; 8] = [
    Article {
        slug: "the-gate-holds",
        section: "harbour",
        title: "The gate holds",
        standfirst: "The highest spring tide in eleven years came up the estuary last night. The old basin, for once, did not notice.",
        author: "Marit Solheim",
        hours_old: 2,
        text: &[
            "At four minutes past two the gauge on the north pier read five metres and nine centimetres, and the two steel leaves of the tide gate leaned into each other with a sound that residents of Cooper’s Row describe as a very large book being closed.",
            "Behind them the water of the old basin stood where it had stood at supper. Cellars that were pumped out four times last winter stayed dry. At the Anchor, where regulars had carried the piano upstairs as a precaution, it was carried down again before closing time.",
            "“People think a gate is there to stop the sea,” says harbour engineer Ilse Brandt, who spent the night in the control hut with a flask and a paperback. “It is there so that the sea need only be asked once. Everyone behind it gets the same water.”",
            "The gate was finished in the spring after nine years of planning and one of welding. It closes by itself when the flood runs higher than the basin, and opens when the ebb has fallen below it. The motor, Brandt points out, is for the tourists.",
            "The next test is on Thursday, when the moon is nearly as near and the wind is forecast from the west.",
        ],
        quote: "It is there so that the sea need only be asked once.",
        picture: "The tide gate at night, closed against high water",
    },
    Article {
        slug: "last-run-of-the-night-ferry",
        section: "harbour",
        title: "The night ferry keeps its last run after all",
        standfirst: "A petition, a bakery and a change of mind: the 23:40 to Skarv island stays in the winter timetable.",
        author: "Jonas Ekberg",
        hours_old: 5,
        text: &[
            "The ferry company has withdrawn its plan to end the day’s last crossing at 21:10. The 23:40 will sail all winter, every day but Sunday, “as it always has, and with the heating on”.",
            "The decision followed three weeks in which islanders collected one thousand two hundred signatures, which is two hundred more than there are islanders. The others, organiser Peder Lund explains, are people who once missed the boat.",
            "What settled the matter may have been the bakery. Its dough leaves the mainland on the late boat and its bread comes back on the first. “No 23:40, no rolls at six,” says Lund. “I believe the director takes two, with poppy seeds.”",
        ],
        quote: "No 23:40, no rolls at six.",
        picture: "The ferry crossing the sound under a half moon",
    },
    Article {
        slug: "herring-by-the-crate",
        section: "harbour",
        title: "Herring is back, and so is the shouting",
        standfirst: "The first full autumn catch in six years fills the auction hall, and the auctioneer has found his old voice.",
        author: "Rosa Lindqvist",
        hours_old: 9,
        text: &[
            "By half past five there was no floor to be seen in the auction hall, only crates, and between them buyers who had brought the wrong boots.",
            "Forty-one tonnes came ashore, the most on one morning since the stock was closed. Biologists had predicted it, skippers had not believed it, and gulls had apparently been told by someone.",
            "The price opened high, fell as each boat came round the pier, and settled where it was six years ago. The chip shop on Quay Street has taken its sign about substitutes out of the window.",
        ],
        quote: "Gulls had apparently been told by someone.",
        picture: "A silver shoal of herring turning in green water",
    },
    Article {
        slug: "keeper-without-a-light",
        section: "weekend",
        title: "The keeper who stayed when the light went automatic",
        standfirst: "Nobody asked Agnes Torp to leave Holm Head in 1998. So she has kept the log ever since, in ink, twice a day.",
        author: "Henrik Aas",
        hours_old: 20,
        text: &[
            "The lamp on Holm Head has switched itself on for a quarter of a century. A small computer on the mainland knows when the sun goes down and sends word. Agnes Torp, eighty-three, knows it too, and writes it down.",
            "Her books fill a wall: wind, sea, visibility, ships. When the coast authority lost two winters of its own records to a failed disk, it sent a young man with a scanner. He stayed for a week. The stove is good.",
            "“They have a copy and I have a copy,” she says. “If they differ, we look at the date and see whose is older. Mostly it is theirs.”",
            "From the gallery the beam goes round every twelve seconds. She does not look up. She would notice, she says, if it were eleven.",
        ],
        quote: "They have a copy and I have a copy. If they differ, we look at the date.",
        picture: "The lighthouse on Holm Head with its beam over the sea",
    },
    Article {
        slug: "an-anchor-with-no-ship",
        section: "town",
        title: "An anchor with no ship",
        standfirst: "The dredger came for mud and left with three tonnes of eighteenth-century iron. Now everyone wants it on their square.",
        author: "Rosa Lindqvist",
        hours_old: 26,
        text: &[
            "It came up at the third try, with a chain of mussels where the other kind of chain had been. The museum dates it to the 1760s by the shape of its palms; the stock, of oak, is still there.",
            "No ship of that size is known to have been lost in the roads. The likeliest story is the dullest: someone was in a hurry to leave with the ebb, and cut.",
            "Three districts have asked for it. The council has set up a committee, and the anchor, meanwhile, lies in a tank of fresh water behind the fire station, losing its salt at the rate of a spoonful a day. It will be ready in about four years. So, it is thought, will the committee.",
        ],
        quote: "It will be ready in about four years. So, it is thought, will the committee.",
        picture: "A large iron anchor on the sea bed",
    },
    Article {
        slug: "eight-oars-one-library",
        section: "weekend",
        title: "Eight oars, one library",
        standfirst: "The rowing club delivers books to the outer islands. The fines are payable in fish.",
        author: "Jonas Ekberg",
        hours_old: 30,
        text: &[
            "Every second Saturday, weather permitting and sometimes not, eight people in a boat built for racing carry forty kilos of novels to places the library van cannot reach, there being no road.",
            "The idea was a bet. The habit is now in its third year. Crime goes out, poetry comes back unread, and a cookery book about preserving has been lost at sea twice and replaced three times.",
            "Cox and librarian Nadia Rahimi keeps the register in a waterproof bag. Popular titles are sent in several copies, so that nobody on the next island has to wait for the boat to go home and come again.",
        ],
        quote: "Poetry comes back unread.",
        picture: "A rowing eight on flat morning water",
    },
    Article {
        slug: "plugging-in-the-ships",
        section: "town",
        title: "Council votes to plug in the ships",
        standfirst: "From next summer cruise ships will take power from the quay. The vote was close, the debate was long, the coffee ran out.",
        author: "Henrik Aas",
        hours_old: 33,
        text: &[
            "By nineteen votes to sixteen the council has decided to build shore power at two berths. Ships in port will switch off their engines and hang on a cable as thick as an arm.",
            "Supporters spoke of air and quiet, opponents of money. A councillor for the hill, where the laundry hangs, brought a pillow case. It was passed around, and is thought to have decided the matter.",
            "The cable comes under the harbour in the trench of the old pipeline. Work begins when the terns have finished nesting, a date on which, the minutes note, the terns were not heard.",
        ],
        quote: "A date on which the terns were not heard.",
        picture: "A ship at the quay beside a crane",
    },
    Article {
        slug: "in-praise-of-fog",
        section: "weekend",
        title: "In praise of fog",
        standfirst: "Five mornings in a row, and nobody could see the office. A correspondent reports that things went on.",
        author: "Marit Solheim",
        hours_old: 50,
        text: &[
            "On the first morning we telephoned. On the second we rang bells. By the third the whole quay had found out that most of what it asks the far shore every day had not changed since yesterday.",
            "The bridge was where it had been. The timetable hung on the wall. The weather, for once, could be told from inside. One used what one had, marked it as yesterday’s, and sent a boy across when there was really something new.",
            "On the sixth day the sun came through at ten past nine and everyone looked up at once. The far shore was still there. It had missed us, too.",
        ],
        quote: "One used what one had, marked it as yesterday’s, and sent a boy across when there was really something new.",
        picture: "Masts standing out of a bank of fog",
    },
];

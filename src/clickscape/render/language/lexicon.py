"""The words that the studio knows, as plain data: which phrases lead to which value of which slot.

The first phrase of each value is its plainest name. Phrases are matched longest first, on word boundaries, and what one
phrase has matched no other can match again: "golden sand" is sand, not gold; "gold spheres" color no wall. Words of
`FILLERS` carry no meaning of their own here; every other word that nothing matches is reported as unknown.
"""

from __future__ import annotations

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "setting": {
        "studio": ("studio", "photo studio", "minimal studio", "studio sweep", "pastel studio", "seamless studio"),
        "bathroom": ("bathroom", "tiled bathroom", "spa bathroom", "tiled wall", "tile wall", "spa"),
        "loft": ("loft", "industrial loft", "concrete loft", "concrete wall", "concrete room"),
        "kitchen": ("kitchen", "bright kitchen", "apartment kitchen", "blurred kitchen", "apartment"),
        "living room": ("living room", "cozy living room", "bedroom", "hotel room", "home interior"),
        "terrace": ("terrace", "canal terrace", "harbor terrace", "café terrace", "cafe terrace", "veranda"),
        "forest": ("forest", "woodland", "deep forest", "pine forest", "garden trees", "jungle"),
        "meadow": ("meadow", "open field", "countryside", "flower meadow", "green field"),
        "beach": ("beach", "seaside", "sunset beach", "ocean shore", "coast"),
        "desert": ("desert", "canyon", "mountain dawn", "desert dunes", "dunes"),
        "city": ("city", "city street", "urban street", "downtown", "city skyline"),
        "workshop": ("workshop", "garage", "warehouse", "factory hall", "craft workshop"),
        "cafe": ("café", "cafe", "coffee shop", "bistro", "coffee bar"),
        "snow": ("snowy landscape", "snow", "winter landscape", "snowy forest", "winter wonderland", "snowfield"),
        "night city": ("city at night", "night city", "night skyline", "city lights", "night street"),
        "festive": ("festive room", "christmas room", "christmas living room", "holiday living room", "fireplace"),
        "pool": ("lakeside", "lake", "poolside", "swimming pool", "open water"),
    },
    "surface": {
        "white marble": ("white marble", "pale marble", "marble", "carrara marble"),
        "black marble": ("black marble", "dark marble", "black and gold marble"),
        "terrazzo": ("terrazzo", "speckled terrazzo"),
        "oak": ("oak", "light wood", "pale oak", "natural wood", "wooden", "wood"),
        "walnut": ("walnut", "dark wood", "rich walnut", "mahogany", "rustic wood"),
        "sand": ("sand", "golden sand", "rippled sand", "warm sand"),
        "linen": ("linen", "soft linen", "fabric", "cotton cloth", "draped linen"),
        "grass": ("grass", "fresh grass", "green grass", "lawn", "green lawn"),
        "water": ("water", "rippling water", "calm water", "pool water", "still water"),
        "slate": ("slate", "dark slate", "gray stone", "rough stone", "stone"),
        "snow": ("fresh snow", "packed snow", "snow-covered", "powder snow"),
        "asphalt": ("wet asphalt", "asphalt", "wet street", "rainy asphalt"),
    },
    "light": {
        "soft": (
            "soft light",
            "soft diffuse light",
            "soft studio light",
            "gentle light",
            "overcast light",
            "airy light",
        ),
        "golden hour": ("golden hour", "golden hour light", "sunset glow", "sunset light", "warm evening light"),
        "noon": ("noon sun", "bright sunlight", "bright noon sun", "midday sun", "hard sunlight", "summer sun"),
        "spotlight": ("spotlight", "dramatic spotlight", "moody spotlight", "single spotlight", "dramatic light"),
        "neon": ("neon light", "neon glow", "pink neon glow", "cyber neon", "neon"),
        "window": ("window light", "soft window light", "soft morning light", "window shadows", "morning light"),
        "leafy": ("leaf shadows", "dappled light", "dappled leaf shadows", "foliage shadows", "palm shadows"),
        "blinds": ("blinds shadows", "shadows of blinds", "venetian blinds", "slatted light", "blinds"),
        "blue hour": ("blue hour", "blue hour light", "dusk light", "twilight", "dusk"),
        "candlelight": ("candlelight", "warm candlelight", "firelight", "fireside glow", "candle glow"),
    },
    "stand": {
        "podium": ("podium", "pedestal", "plinth", "round podium"),
        "blocks": ("blocks", "geometric blocks", "cubes", "stacked blocks"),
        "steps": ("steps", "staircase", "stairs", "stepped platform"),
        "slab": ("slab", "low slab", "tray", "board"),
        "table": ("table", "tabletop", "counter", "desk"),
        "floor": ("floor", "ground", "open ground", "bare floor"),
    },
    "palette": {
        "cream": ("cream", "ivory", "beige", "off-white"),
        "pink": ("pink", "blush", "rose pink", "pastel pink"),
        "red": ("red", "crimson", "deep red", "scarlet"),
        "mint": ("mint", "mint green", "pale green", "sage"),
        "teal": ("teal", "petrol", "deep teal", "turquoise"),
        "blue": ("blue", "sky blue", "cornflower", "soft blue"),
        "yellow": ("yellow", "sunny yellow", "mustard", "lemon yellow"),
        "lavender": ("lavender", "lilac", "pale violet", "soft purple"),
        "charcoal": ("charcoal", "dark gray", "anthracite", "near-black"),
    },
    "prop": {
        "none": ("nothing else", "no props", "uncluttered", "empty around"),
        "eucalyptus": ("eucalyptus", "eucalyptus leaves", "eucalyptus branches", "eucalyptus sprigs"),
        "palm": ("palm leaves", "palm fronds", "tropical leaves", "palm"),
        "blossom": ("blossom", "cherry blossom", "blossom branches", "pink flowers", "flowers"),
        "lemons": ("lemons", "fresh lemons", "citrus", "cut lemons"),
        "pebbles": ("pebbles", "smooth pebbles", "zen stones", "river stones"),
        "coffee beans": ("coffee beans", "roasted beans", "scattered coffee beans"),
        "berries": ("berries", "fresh berries", "red berries", "strawberries"),
        "gift": ("gift box", "wrapped gift", "presents", "gift"),
        "gold spheres": ("gold spheres", "golden balls", "gold orbs", "golden spheres"),
        "candle": ("candle", "lit candle", "candles", "glowing candles"),
        "ice": ("ice cubes", "ice", "crushed ice", "clear ice cubes"),
        "bubbles": ("bubbles", "soap bubbles", "floating bubbles"),
        "log": ("log", "wooden logs", "wood log", "cut logs", "logs"),
        "baubles": ("baubles", "festive baubles", "christmas baubles", "red ornaments"),
        "pine cones": ("pine cones", "pinecones", "fir cones", "fir sprigs"),
        "autumn leaves": ("autumn leaves", "maple leaves", "fall leaves", "fallen leaves"),
        "sunflowers": ("sunflowers", "sunflower", "tall sunflowers", "sunflower heads"),
        "lavender sprigs": ("lavender sprigs", "lavender bunch", "lavender stems", "dried lavender"),
        "wheat": ("wheat", "wheat ears", "golden wheat", "sheaf of wheat"),
        "cotton": ("cotton branches", "cotton bolls", "cotton stems", "dried cotton"),
        "pumpkins": ("pumpkins", "small pumpkins", "autumn pumpkins", "harvest pumpkins"),
        "oranges": ("oranges", "fresh oranges", "orange slices", "orange halves"),
        "cinnamon": ("cinnamon sticks", "cinnamon", "star anise", "warm spices"),
        "cactus": ("cactus", "potted cactus", "cacti", "potted cacti"),
        "books": ("books", "stacked books", "book stack", "old books"),
        "seashells": ("seashells", "sea shells", "scallop shells", "starfish"),
        "yarn": ("yarn balls", "balls of yarn", "wool yarn", "knitting wool"),
        "toy bricks": ("toy bricks", "toy blocks", "building bricks", "colorful bricks"),
        "balloons": ("balloons", "party balloons", "colorful balloons", "floating balloons"),
        "tennis balls": ("tennis balls", "tennis ball", "felt tennis balls", "scattered tennis balls"),
        "gears": ("gears", "steel gears", "metal gears", "cogwheels"),
    },
}

WISHES: dict[str, tuple[str, ...]] = {
    "harmony": ("harmonious", "harmonizing", "tone on tone", "tone-on-tone", "matching", "color-matched"),
    "contrast": ("contrasting", "complementary", "contrast color", "bold contrast", "high contrast"),
}
"""A wall color that depends on the product's own; a color that is named outright goes first."""

WALL_WORDS = ("wall", "walls", "backdrop", "background", "tiles")
"""A color followed by one of these colors the wall; where no color is, the first color left over does."""

FILLERS = frozenset(
    "a an and at in into of on the with by from over under near behind beside around against its for to some few "
    "soft white blurred bokeh bright clean quiet cozy sunny scattered warm cool fresh airy calm elegant simple modern "
    "rustic minimal background backdrop wall walls light shadows scene product photography photo".split()
)

DEFAULTS: dict[str, dict[str, str]] = {
    "studio": {"surface": "white marble", "stand": "podium"},
    "bathroom": {"surface": "white marble", "stand": "slab"},
    "loft": {"surface": "oak", "stand": "table"},
    "kitchen": {"surface": "oak", "stand": "table"},
    "living room": {"surface": "walnut", "stand": "table"},
    "terrace": {"surface": "terrazzo", "stand": "table"},
    "forest": {"surface": "oak", "stand": "slab"},
    "meadow": {"surface": "grass", "stand": "floor"},
    "beach": {"surface": "sand", "stand": "floor"},
    "desert": {"surface": "sand", "stand": "floor"},
    "city": {"surface": "slate", "stand": "blocks"},
    "workshop": {"surface": "walnut", "stand": "table"},
    "cafe": {"surface": "walnut", "stand": "table"},
    "snow": {"surface": "snow", "stand": "floor"},
    "night city": {"surface": "asphalt", "stand": "floor"},
    "festive": {"surface": "walnut", "stand": "table"},
    "pool": {"surface": "white marble", "stand": "slab"},
}
"""What stands under the product when a description does not say."""

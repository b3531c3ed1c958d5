"""Words of ten languages that weigh nothing, that ask, that deny, and that speak of oneself. Data only.

`fillers` may come or go without changing what a question asks; `askers` may stand anywhere but must ask the same, and
`KIND:WORD/WORD…` says which do (a reason is asked for by `why` and by `the reason`); `denials` are pieces of words,
counted; `own` are words that tie a question to whoever asks it.
"""

from pointsman.types import Value


class Words(Value, frozen=True):
    """One language's, in lower case."""

    fillers: frozenset[str]
    askers: tuple[tuple[str, str], ...]
    denials: tuple[str, ...]
    own: frozenset[str]


def _words(fillers: str, askers: str, denials: str, own: str) -> Words:
    return Words(
        fillers=frozenset(fillers.split()),
        askers=tuple((word, kind) for kind, _, words in map(_parted, askers.split()) for word in words.split("/")),
        denials=tuple(denials.split()),
        own=frozenset(own.split()),
    )


def _parted(entry: str) -> tuple[str, str, str]:
    return entry.partition(":")


WORDS: dict[str, Words] = {
    "en": _words(
        "a an the is are am be do does can could would i me you we it there that"
        " this of to in"
        " into please kindly tell say give what which exactly during",
        "who:who/whom whose:whose when:when where:where why:why/reason how:how/way/steps/method"
        " many:many/number"
        " much:much long:long",
        "not n't no never without except cannot neither nor",
        "my mine our ours myself",
    ),
    "hi": _words(
        "है हैं हो होता होती होते हूँ क्या का के की को में पर कृपया मुझे बताइए बताएं बताओ बताइये एक कुल ज़रा जरा यह"
        " वह कौन सा सी दौरान"
        " करें करते करना करने",
        "why:क्यों/कारण how:कैसे/तरीका/तरीक़ा/विधि when:कब where:कहाँ/कहां many:कितना/कितने/कितनी/संख्या who:किसने/किसके",
        "नहीं मत ना न बिना सिवाय",
        "मेरा मेरी मेरे हमारा हमारी हमारे अपना अपनी अपने",
    ),
    "bn": _words(
        "কি কী হয় হলো হল আছে থাকে একটি এক মোট দয়া করে আমাকে বলুন বলো কোন কোনটি যেতে করব করার করা করো করুন টি টা যায় এর",
        "why:কেন/কারণ how:কিভাবে/কীভাবে/উপায়/পদ্ধতি when:কবে/কখন where:কোথায় many:কত/সংখ্যা who:কে whose:কার",
        "না নয় নেই নি ছাড়া",
        "আমার আমাদের নিজের",
    ),
    "mr": _words(
        "आहे आहेत असते असतो असतात असतं का काय कोणती कोणता कोणते कृपया मला सांगा एक एका एकूण हे हा ही"
        " जायला जाण्यासाठी"
        " करावे करायचे करण्याची करा असण्याचे",
        "why:कारण how:कसे/कसा/कशी/पद्धत when:कधी where:कुठे many:किती/संख्या who:कोण/कोणी",
        "नाही नका नको नसते नसतो नसत शिवाय न",
        "माझा माझी माझे माझ्या आमचा आमची आमचे आमच्या",
    ),
    "gu": _words(
        "છે છો હોય શું કઈ કયું કયો કૃપા કરીને મને જણાવો કહો એક કુલ આ તે નો ની નું ના માં જવામાં જતાં રીતે દરમિયાન કરવું કરવાની કરાય",
        "why:કેમ/કારણ how:કેવી/રીત when:ક્યારે where:ક્યાં many:કેટલા/કેટલી/કેટલો/કેટલું/સંખ્યા who:કોણ/કોણે",
        "નથી નહીં નહિ ન વિના સિવાય",
        "મારો મારી મારું મારા અમારો અમારી અમારું અમારા",
    ),
    "pa": _words(
        "ਹੈ ਹਨ ਹੁੰਦਾ ਹੁੰਦੀ ਹੁੰਦੇ ਕੀ ਦਾ ਦੇ ਦੀ ਨੂੰ ਵਿੱਚ ਕਿਰਪਾ ਕਰਕੇ ਮੈਨੂੰ ਦੱਸੋ ਇੱਕ ਕੁੱਲ ਇਹ ਉਹ ਕਿਹੜਾ ਕਿਹੜੀ ਜਾਣ ਦੌਰਾਨ ਕਰੀਏ ਕਰਨ ਕਰਨਾ",
        "why:ਕਿਉਂ/ਕਾਰਨ how:ਕਿਵੇਂ/ਤਰੀਕਾ when:ਕਦੋਂ where:ਕਿੱਥੇ many:ਕਿੰਨਾ/ਕਿੰਨੇ/ਕਿੰਨੀ/ਗਿਣਤੀ who:ਕੌਣ",
        "ਨਹੀਂ ਨਾ ਬਿਨਾਂ ਬਿਨਾ ਸਿਵਾਏ",
        "ਮੇਰਾ ਮੇਰੀ ਮੇਰੇ ਸਾਡਾ ਸਾਡੀ ਸਾਡੇ ਆਪਣਾ ਆਪਣੀ ਆਪਣੇ",
    ),
    "ta": _words(
        "எது என்ன எந்த ஒரு மொத்தம் தயவுசெய்து தயவு செய்து எனக்கு சொல்லுங்கள் சொல்லவும் கூறுங்கள் உள்ளன உள்ளது இருக்கிறது"
        " ஆகும் செல்ல போது வேண்டும்",
        "why:ஏன்/காரணம் how:எப்படி/வழி when:எப்போது where:எங்கே much:எவ்வளவு many:எத்தனை/எண்ணிக்கை who:யார்",
        "இல்லை ில்லை அல்ல ல்லாத ற்ற ாத ாமல் வேண்டாம் தவிர",
        "என் எனது என்னுடைய எங்கள் நமது",
    ),
    "te": _words(
        "ఏది ఏమిటి ఏ ఒక మొత్తం దయచేసి నాకు చెప్పండి చెప్పు ఉంది ఉన్నాయి ఉంటాయి ఉంటుంది లో వెళ్లడానికి సమయంలో చేయాలి చేసే చేస్తారు",
        "why:ఎందుకు/కారణం how:ఎలా/విధానం when:ఎప్పుడు where:ఎక్కడ much:ఎంత many:ఎన్ని/సంఖ్య who:ఎవరు",
        "కాద కాని లేద లేని లేము లేను లేరు వద్దు ఉండదు కుండా కూడద తప్ప",
        "నా మా నాది మాది",
    ),
    "kn": _words(
        "ಯಾವುದು ಏನು ಯಾವ ಒಂದು ಒಟ್ಟು ದಯವಿಟ್ಟು ನನಗೆ ಹೇಳಿ ತಿಳಿಸಿ ಇದೆ ಇವೆ ಅನ್ನು ರ ರಲ್ಲಿ ಹೋಗಲು ಸಮಯದಲ್ಲಿ ಮಾಡುವುದು ಮಾಡಬೇಕು ಮಾಡುವ",
        "why:ಏಕೆ/ಕಾರಣ/ಕಾರಣವೇನು how:ಹೇಗೆ/ವಿಧಾನ when:ಯಾವಾಗ where:ಎಲ್ಲಿ many:ಎಷ್ಟು/ಸಂಖ್ಯೆ who:ಯಾರು",
        "ಲ್ಲ ಬೇಡ ಬಾರದು ಹೊರತು ಇಲ್ಲದ",
        "ನನ್ನ ನಮ್ಮ",
    ),
    "ml": _words(
        "ഏതാണ് ഏത് എന്താണ് എന്ത് ഒരു ആകെ ദയവായി എനിക്ക് പറയൂ പറയുക ആണ് ഉണ്ട് പോകാൻ ആണോ",
        "why:എന്തുകൊണ്ട്/എന്തുകൊണ്ടാണ്/കാരണം how:എങ്ങനെ/വഴി when:എപ്പോൾ/എപ്പോഴാണ് where:എവിടെ many:എത്ര/എത്രയാണ്/എണ്ണം who:ആര്/ആരാണ്",
        "ല്ല ാത്ത ാതെ രുത് വേണ്ട ഒഴികെ",
        "എന്റെ ഞങ്ങളുടെ നമ്മുടെ എൻ്റെ",
    ),
}
